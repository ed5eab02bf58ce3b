package topology

import (
	"fmt"
	"strings"

	"github.com/ipvslab/ipvslab/lb/health"
)

func (d *describer) director(p *DirectorPlan) {
	if p == nil {
		return
	}
	text := string(p.Kind)
	if p.Program != "" {
		text += ", program " + p.Program
	}
	if p.Config != "" {
		text += ", configuration " + p.Config
	}
	if p.Rules != "" {
		text += ", rules " + p.Rules
	}
	if len(p.Argv) > 0 {
		text += fmt.Sprintf(": %q", p.Argv)
	}
	d.item(p.Origin, "director", "%s", text)
}

func (d *describer) checks(s *Service) {
	if s.Check != nil {
		d.check("check", s.Check)
	}
	for i, own := range s.OwnChecks {
		for j := range own {
			d.check("check of "+s.RealServers[i], &own[j])
		}
	}
	d.item("", "quorum", "%d, hysteresis %d", s.Quorum, s.Hysteresis)
	if s.Sorry != nil {
		text := fmt.Sprintf("%s: %s, %s", s.Sorry.Node, s.Sorry.DestKey, s.Sorry.Forward)
		if s.Sorry.Inhibit {
			text += ", weight 0 while there is a quorum"
		}
		d.item("", "sorry server", "%s", text)
	}
}

func (d *describer) check(item string, c *health.Check) {
	failed := "removed"
	if c.Inhibit {
		failed = "weight 0"
	}
	d.item("", item, "%s every %s within %s, up after %d, down after %d with %s between, first within %s; down: %s",
		what(c), c.Interval, c.Timeout, c.Rise, c.Fall, c.DelayBeforeRetry, c.WarmUp, failed)
}

// what is a check in a few words.
func what(c *health.Check) string {
	words := []string{string(c.Kind)}
	if c.TLS {
		words = append(words, "over tls")
	}
	if c.Port != 0 {
		words = append(words, "port "+itoa(int(c.Port)))
	}
	switch c.Kind {
	case health.HTTP:
		words = append(words, c.Path)
		for _, r := range c.Status {
			words = append(words, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
		if c.Body != "" {
			words = append(words, fmt.Sprintf("body %q", c.Body))
		}
	case health.GRPC:
		words = append(words, fmt.Sprintf("service %q", c.Service))
	case health.UDP:
		if c.Expect != "" {
			words = append(words, fmt.Sprintf("answer %q", c.Expect))
		}
	case health.Command:
		words = append(words, fmt.Sprintf("%q", c.Argv))
	}
	return strings.Join(words, " ")
}
