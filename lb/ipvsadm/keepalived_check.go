package ipvsadm

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
)

// checks writes what a virtual_server block says of its checks as a whole.
func (e *keepalivedExport) checks(s *lb.Service, h *health.Service) {
	if h.Check != nil {
		e.general(s, h.Check)
	}
	e.f("    quorum %d\n", h.Quorum)
	e.f("    hysteresis %d\n", h.Hysteresis)
	e.sorry(h.Sorry)
}

// general writes what holds for every checker that says nothing else.
func (e *keepalivedExport) general(s *lb.Service, c *health.Check) {
	e.f("    delay_loop %s\n", timer(c.Interval))
	e.f("    connect_timeout %s\n", timer(c.Timeout))
	e.f("    delay_before_retry %s\n", timer(c.DelayBeforeRetry))
	e.f("    warmup %s\n", timer(c.WarmUp))
	if c.Alpha {
		e.f("    alpha\n")
	}
	if c.Inhibit {
		e.f("    inhibit_on_failure\n")
	}
	e.loseCheck(s, nil, c)
}

// loseCheck tells what keepalived has no word for.
func (e *keepalivedExport) loseCheck(s *lb.Service, d *lb.Destination, c *health.Check) {
	if c.Rise > 1 {
		e.lose(s, d, "rise %d: a server is up after one success", c.Rise)
	}
	if c.Kind == health.GRPC {
		e.lose(s, d, "the grpc check: every server counts as up")
	}
}

func (e *keepalivedExport) sorry(sorry *health.Sorry) {
	if sorry != nil {
		e.f("    sorry_server %s %d\n", formatAddr(sorry.Addr), sorry.Port)
		e.f("    sorry_server_lvs_method %s", keepalivedMethod(sorry.Forward))
		if sorry.Forward == lb.TUN {
			e.tunnel(&sorry.Tunnel)
		}
		e.f("\n")
		if sorry.Inhibit {
			e.f("    sorry_server_inhibit\n")
		}
	}
}

// timer is a time span as keepalived reads it: seconds with a fraction.
func timer(t time.Duration) string { return strconv.FormatFloat(t.Seconds(), 'f', -1, 64) }

// serverChecks writes the checkers of one real server: the service's, or its own.
func (e *keepalivedExport) serverChecks(s *lb.Service, h *health.Service, i int) {
	own := i < len(h.Own) && len(h.Own[i]) > 0
	d := &s.Destinations[i]
	inhibit := false
	for _, c := range h.Checks(i) {
		if own {
			e.loseCheck(s, d, c)
		}
		inhibit = inhibit || c.Inhibit
	}
	switch {
	case own && inhibit:
		e.f("        inhibit_on_failure\n")
	case own && h.Check != nil && h.Check.Inhibit:
		e.f("        inhibit_on_failure no\n")
	}
	for _, c := range h.Checks(i) {
		e.check(h, d, c, own)
	}
}

// check writes a checker; with what is the service's otherwise, if it is a server's own.
func (e *keepalivedExport) check(h *health.Service, d *lb.Destination, c *health.Check, own bool) {
	switch c.Kind {
	case health.TCP:
		e.f("        TCP_CHECK {\n")
	case health.UDP:
		e.f("        UDP_CHECK {\n")
		if c.Send != "" {
			e.f("            payload %s\n", hex.EncodeToString([]byte(c.Send)))
		}
		if c.Expect != "" {
			e.f("            require_reply %s\n", hex.EncodeToString([]byte(c.Expect)))
		}
	case health.HTTP:
		e.httpCheck(c)
	case health.Command:
		env := append([]string{"/usr/bin/env"}, health.CommandEnv(h, d.DestKey)...)
		e.f("        MISC_CHECK {\n            misc_path %s\n", quote(strings.Join(quoteWords(append(env, c.Argv...)), " ")))
		e.f("            misc_timeout %d\n", max(1, int64(c.Timeout.Seconds())))
	default:
		return
	}
	e.f("            retry %d\n", c.Fall-1) // 0 is allowed here only
	if own {
		e.f("            delay_loop %s\n", timer(c.Interval))
		e.f("            delay_before_retry %s\n", timer(c.DelayBeforeRetry))
		e.f("            warmup %s\n", timer(c.WarmUp))
		if c.Kind != health.Command {
			e.f("            connect_timeout %s\n", timer(c.Timeout))
		}
		if c.Alpha {
			e.f("            alpha\n")
		}
	}
	port := c.Port
	if port == 0 && d.Port == 0 {
		port = h.Target.Port
	}
	if port != 0 && c.Kind != health.Command {
		e.f("            connect_port %d\n", port)
	}
	e.f("        }\n")
}

func (e *keepalivedExport) httpCheck(c *health.Check) {
	name := "HTTP_GET"
	if c.TLS {
		name = "SSL_GET"
	}
	e.f("        %s {\n            url {\n                path %s\n                status_code", name, quote(c.Path))
	for _, r := range c.Status {
		e.f(" %d-%d", r.First, r.Last)
	}
	e.f("\n")
	if c.Host != "" {
		e.f("                virtualhost %s\n", c.Host)
	}
	if c.Body != "" {
		e.f("                regex %s\n", quote(c.Body))
	}
	e.f("            }\n")
	if c.TLS && c.Host != "" {
		e.f("            enable_sni\n")
	}
}

// quote makes one word of a text, as keepalived.conf(5) has it: in double
// quotes, a backslash before those within.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// quoteWords makes each argument one word of a command line.
func quoteWords(argv []string) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = a
		if a == "" || strings.ContainsAny(a, " \t\"'\\") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'"'"'`) + "'"
		}
	}
	return out
}
