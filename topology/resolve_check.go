package topology

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb/health"
)

// resolveCheck plans the service's checks, its quorum and its sorry server.
func (p *planner) resolveCheck(s *service) {
	sp := s.spec
	p.resolveSorry(s)
	general := p.checks(s, s.path+".check", sp.Check, slices.Concat(s.dests, []*destination{s.sorry})...)
	var pace CheckSpec
	if len(sp.Check) > 0 {
		pace = sp.Check[0]
	}
	own := make([][]health.Check, len(s.dests))
	several := false
	for i, d := range s.dests {
		own[i] = p.checks(s, d.path+".check", paced(d.checks, &pace), d)
		if len(own[i]) == 0 && len(general) > 1 {
			own[i] = general
		}
		several = several || len(own[i]) > 0
	}
	if len(general) == 1 {
		s.Check = &general[0]
	}
	if several {
		s.OwnChecks = own
	}
	if h := s.Health(); h.Watched() {
		p.resolveQuorum(s)
		return
	}
	for _, f := range []struct {
		key  string
		said bool
	}{{"quorum", sp.Quorum != 0}, {"hysteresis", sp.Hysteresis != 0}, {"sorryServer", sp.SorryServer != nil}} {
		if f.said && !p.broken(s.path) {
			p.errorf(s.path+"."+f.key, "say check: tcp, or another", "%s without a check: no real server is ever down", f.key)
		}
	}
}

// paced are checks of one real server with what they don't say of times and
// consequences from the service's check, as keepalived's checkers have it.
func paced(specs List[CheckSpec], by *CheckSpec) List[CheckSpec] {
	out := slices.Clone(specs)
	for i := range out {
		c := &out[i]
		c.Interval, c.Timeout = cmp.Or(c.Interval, by.Interval), cmp.Or(c.Timeout, by.Timeout)
		c.Rise, c.Fall = cmp.Or(c.Rise, by.Rise), cmp.Or(c.Fall, by.Fall)
		c.DelayBeforeRetry, c.WarmUp = cmp.Or(c.DelayBeforeRetry, by.DelayBeforeRetry), cmp.Or(c.WarmUp, by.WarmUp)
		c.Alpha, c.OnFailure = c.Alpha || by.Alpha, cmp.Or(c.OnFailure, by.OnFailure)
	}
	return out
}

// checks plans the checks of some of the service's real servers.
func (p *planner) checks(s *service, path string, specs List[CheckSpec], of ...*destination) []health.Check {
	if p.broken(path) {
		return nil
	}
	var out []health.Check
	for i := range specs {
		at := path
		if len(specs) > 1 {
			at = path + "[" + itoa(i) + "]"
		}
		c := p.check(at, &specs[i])
		p.checkCheckedPort(s, at, c, of)
		out = append(out, *c)
	}
	return out
}

func (p *planner) check(path string, sp *CheckSpec) *health.Check {
	c := &health.Check{
		Port: sp.Port, Argv: sp.Command, Alpha: sp.Alpha, Inhibit: sp.OnFailure == "inhibit",
		Rise: cmp.Or(sp.Rise, health.DefaultRise), Fall: cmp.Or(sp.Fall, health.DefaultFall),
		Interval: cmp.Or(time.Duration(sp.Interval), health.DefaultInterval),
		Timeout:  cmp.Or(time.Duration(sp.Timeout), health.DefaultTimeout),
	}
	p.checkWhat(path, sp, c)
	p.checkTimes(path, sp, c)
	return c
}

// checkWhat takes over the one kind of check that is said.
func (p *planner) checkWhat(path string, sp *CheckSpec, c *health.Check) {
	var said []health.Kind
	if sp.TCP {
		said = append(said, health.TCP)
	}
	if h := sp.HTTP; h != nil {
		said = append(said, health.HTTP)
		p.checkHTTP(path+".http", h, c)
	}
	if u := sp.UDP; u != nil {
		said = append(said, health.UDP)
		c.Send, c.Expect = u.Send, u.Expect
	}
	if g := sp.GRPC; g != nil {
		said = append(said, health.GRPC)
		c.Service, c.Host, c.TLS = g.Service, g.Host, g.TLS
	}
	if len(sp.Command) > 0 {
		said = append(said, health.Command)
		c.Fall = cmp.Or(sp.Fall, 1) // keepalived.conf(5), MISC_CHECK: the retry default is 0
		if sp.Command[0] == "" {
			p.errorf(path+".command", "say [program, argument, ...]", "a command without program")
		}
	}
	if len(said) != 1 {
		p.errorf(path, "allowed: exactly one of tcp, http, udp, grpc, command", "found %d kinds of check", len(said))
		return
	}
	c.Kind = said[0]
}

func (p *planner) checkHTTP(path string, h *HTTPCheckSpec, c *health.Check) {
	c.Path, c.Body, c.Host, c.TLS = cmp.Or(h.Path, "/"), h.Body, h.Host, h.TLS
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, " \r\n") {
		p.errorf(path+".path", "allowed: a path that begins with / and has no blanks", "found %q", c.Path)
	}
	if _, err := regexp.Compile(h.Body); err != nil {
		p.errorf(path+".body", "allowed: a regular expression (RE2)", "%v", err)
	}
	for _, r := range h.Status {
		c.Status = append(c.Status, health.StatusRange{First: r.First, Last: r.Last})
	}
	if len(h.Status) == 0 {
		c.Status = []health.StatusRange{{First: 200, Last: 299}}
	}
}

// leastInterval keeps a check from becoming a flood.
const leastInterval = 10 * time.Millisecond

func (p *planner) checkTimes(path string, sp *CheckSpec, c *health.Check) {
	c.DelayBeforeRetry = min(health.DefaultDelay, c.Interval)
	if c.Kind == health.HTTP {
		c.DelayBeforeRetry = min(health.DefaultHTTPDelay, c.Interval)
	}
	if sp.DelayBeforeRetry != nil {
		c.DelayBeforeRetry = time.Duration(*sp.DelayBeforeRetry)
	}
	c.WarmUp = c.Interval
	if sp.WarmUp != nil {
		c.WarmUp = time.Duration(*sp.WarmUp)
	}
	if c.Interval < leastInterval {
		p.errorf(path+".interval", "allowed: "+leastInterval.String()+" or more", "found %s", c.Interval)
	}
	if c.Timeout < time.Millisecond {
		p.errorf(path+".timeout", "allowed: 1ms or more", "found %s", c.Timeout)
	}
}

// checkCheckedPort sees that there is a port to check.
func (p *planner) checkCheckedPort(s *service, path string, c *health.Check, of []*destination) {
	if c.Port != 0 || c.Kind == health.Command {
		return
	}
	for _, d := range of {
		if d != nil && d.Port == 0 && len(s.Marks) == 0 {
			p.errorf(path, "say port: N", "%q serves every port: which is to be checked?", d.node.Name)
			return
		}
	}
}

func (p *planner) resolveQuorum(s *service) {
	s.Quorum, s.Hysteresis = cmp.Or(s.spec.Quorum, health.DefaultQuorum), s.spec.Hysteresis
	sum := 0
	for _, d := range s.dests {
		sum += int(d.Weight)
	}
	if s.Hysteresis >= s.Quorum {
		p.errorf(s.path+".hysteresis", "allowed: less than the quorum", "a hysteresis of %d with a quorum of %d: it would never be lost", s.Hysteresis, s.Quorum)
	}
	if s.Quorum+s.Hysteresis > sum && sum > 0 && (s.spec.Quorum != 0 || s.Hysteresis != 0) {
		p.errorf(s.path+".quorum", "allowed: with the hysteresis at most "+itoa(sum)+", the sum of the weights",
			"a quorum of %d and a hysteresis of %d can't be reached", s.Quorum, s.Hysteresis)
	}
}

// resolveSorry plans the sorry server as another real server, which is in no
// table as long as there is a quorum.
func (p *planner) resolveSorry(s *service) {
	sp := s.spec.SorryServer
	path := s.path + ".sorryServer"
	if sp == nil || p.broken(path) {
		return
	}
	group := p.lookup(path, sp.Node)
	if len(group) > 1 {
		p.errorf(path, "say one of them, such as "+group[0].Name, "%q are %d nodes", sp.Node, len(group))
	}
	if len(group) != 1 {
		return
	}
	weight := 1
	d := p.destination(s, group[0], path, &RealServerSpec{
		Weight: &weight, Port: sp.Port, Forwarding: sp.Forwarding, Address: sp.Address, Tunnel: sp.Tunnel,
	})
	if d == nil {
		return
	}
	for _, other := range s.dests {
		if other.DestKey == d.DestKey {
			p.errorf(path, "name another node, or another port", "%s is a real server of the service", d.DestKey)
		}
	}
	s.sorry = d
	s.Sorry = &Sorry{Node: group[0].Name, Sorry: health.Sorry{Destination: d.Destination, Inhibit: sp.Inhibit}}
	group[0].serves = append(group[0].serves, d)
}

// HealthServices are the services that a director carries, with their checks.
func (p *Plan) HealthServices(director string) []health.Service {
	var out []health.Service
	for i := range p.Services {
		if slices.Contains(p.Services[i].Directors, director) {
			out = append(out, p.Services[i].Health())
		}
	}
	return out
}

// Health is the service as whoever checks it is told.
func (s *Service) Health() health.Service {
	h := health.Service{Name: s.Name, Spec: s.Spec, Check: s.Check, Own: s.OwnChecks, Quorum: s.Quorum, Hysteresis: s.Hysteresis}
	if s.Sorry != nil {
		sorry := s.Sorry.Sorry
		h.Sorry = &sorry
	}
	h.Target = health.Target{Addr: s.Spec.Addr, Port: s.Spec.Port}
	if len(s.Marks) > 0 {
		h.Target = health.Target{Addr: s.Marks[0].Addr, Port: s.Marks[0].First}
	}
	return h
}
