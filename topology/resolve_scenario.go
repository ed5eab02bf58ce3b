package topology

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

const (
	defaultConnections = 10
	defaultTimeout     = 5 * time.Second // two retransmissions of a SYN fit, RFC 6298
	// answerTimeout is the default where every connection is to be answered: a
	// busy machine may be slow, and nobody waits for what comes in time.
	answerTimeout = 20 * time.Second
)

func (p *planner) resolveScenarios() {
	for i := range p.t.Scenarios {
		e := &p.t.Scenarios[i]
		path := join("scenarios", e.Key)
		s := Scenario{Name: e.Key, Service: e.Value.Service, To: e.Value.To}
		if e.Key == "" {
			p.errorf(path, "", "a scenario without name")
		}
		s.From = p.scenarioFrom(path, e.Value.From)
		svc := p.scenarioTarget(path, &s)
		s.Traffic = p.scenarioTraffic(path+".traffic", &e.Value.Traffic, svc)
		s.Faults = p.scenarioFaults(path+".faults", e.Value.Faults)
		p.timeTraffic(path, &e.Value, &s)
		if e.Value.Traffic.Timeout == 0 && s.Traffic.Duration == 0 && cmp.Or(string(e.Value.Expect.Outcome), "answered") == "answered" {
			s.Traffic.Timeout = answerTimeout
		}
		s.Expect = p.scenarioExpect(path+".expect", &e.Value.Expect, s, svc)
		p.plan.Scenarios = append(p.plan.Scenarios, s)
	}
}

func (p *planner) scenarioFrom(path, name string) string {
	if p.broken("nodes") {
		return name
	}
	if name == "" {
		for _, n := range p.nodes {
			if n.Role == Client {
				return n.Name
			}
		}
		p.errorf(path, "say from: NODE", "there is no client")
		return ""
	}
	group := p.lookup(path+".from", name)
	if len(group) > 1 {
		p.errorf(path+".from", "say one of them, such as "+group[0].Name, "%q are %d nodes", name, len(group))
	}
	if len(group) == 0 {
		return ""
	}
	return group[0].Name
}

// scenarioTarget completes what the scenario connects to.
func (p *planner) scenarioTarget(path string, s *Scenario) *service {
	switch {
	case p.broken("services"):
		return nil
	case s.To != "" && s.Service != "":
		p.errorf(path, "keep one", "service and to at once")
	case s.To != "":
		if _, err := netip.ParseAddrPort(s.To); err != nil {
			p.errorf(path+".to", "allowed: address:port, such as 10.0.0.1:80 or [fd00::1]:80", "found %q", s.To)
		}
		return nil
	case s.Service == "" && len(p.services) == 1:
		s.Service = p.services[0].Name
	case s.Service == "":
		p.errorf(path, "say service: NAME, or to: ADDRESS:PORT; "+p.choices("", p.t.Services.Keys()), "the scenario connects to nothing")
		return nil
	}
	for _, svc := range p.services {
		if svc.Name == s.Service {
			return svc
		}
	}
	p.errorf(path+".service", p.choices(s.Service, p.t.Services.Keys()), "there is no service %q", s.Service)
	return nil
}

func (p *planner) scenarioTraffic(path string, t *TrafficSpec, svc *service) Traffic {
	proto := string(t.Protocol)
	transport := lb.TCP
	if svc != nil {
		transport = svc.transport()
	}
	if proto == "" {
		proto = "http"
		if transport != lb.TCP {
			proto = transport.String()
		}
	}
	if svc != nil && svc.Spec.Protocol != 0 && transportOf(proto) != transport && !p.broken(svc.path) {
		p.errorf(path, "leave protocol out", "%s traffic to a %s service", proto, svc.Spec.Protocol)
	}
	out := Traffic{
		Protocol: proto, Connections: cmp.Or(t.Connections, defaultConnections), Concurrency: cmp.Or(t.Concurrency, 1),
		Hold: t.Hold, Timeout: cmp.Or(time.Duration(t.Timeout), defaultTimeout), Sources: t.Sources,
	}
	for i, a := range t.Sources {
		if svc != nil && svc.Spec.Family != 0 && a.IsValid() && lb.FamilyOf(a) != svc.Spec.Family {
			p.errorf(indexed(path+".sources", path+".sources", i, p), "", "the source %s is of another family than the service", a)
		}
	}
	return out
}

func (p *planner) scenarioExpect(path string, x *ExpectSpec, s Scenario, svc *service) Expectation {
	out := Expectation{
		Predicted: x.Distribution == "predicted", Sequence: x.Sequence, Outcome: cmp.Or(string(x.Outcome), "answered"),
	}
	sum := 0
	for _, c := range x.Counts {
		if out.Counts == nil {
			out.Counts = map[string]int{}
		}
		if c.Value < 0 {
			p.errorf(join(path+".counts", c.Key), "allowed: 0 or more", "found %d", c.Value)
		}
		out.Counts[c.Key] = c.Value
		sum += c.Value
		p.checkIdentity(join(path+".counts", c.Key), c.Key)
	}
	for i, id := range x.Sequence {
		p.checkIdentity(path+".sequence["+itoa(i)+"]", id)
	}
	out.Handover = p.handover(path+".handover", x.Handover)
	n := s.Traffic.Connections
	if len(x.Sequence) > 0 && len(x.Sequence) != n && !p.broken(path) {
		p.errorf(path+".sequence", "say traffic: "+itoa(len(x.Sequence)), "%d answers for %d connections", len(x.Sequence), n)
	}
	if len(x.Counts) > 0 && sum != n && !p.broken(path) {
		p.errorf(path+".counts", "say traffic: "+itoa(sum), "the counts make %d, the connections are %d", sum, n)
	}
	if len(x.Sequence) > 0 && s.Traffic.Concurrency > 1 {
		p.errorf(path+".sequence", "say counts, or concurrency: 1", "the order of %d connections at once is not defined", s.Traffic.Concurrency)
	}
	if out.Predicted && svc == nil && !p.broken("services") {
		p.errorf(path, "say service", "only a service's distribution can be predicted")
	}
	if out.Outcome != "answered" && (out.Predicted || len(x.Sequence)+len(x.Counts) > 0) {
		p.errorf(path, "keep one", "the outcome %s and a distribution of answers at once", out.Outcome)
	}
	return out
}

// checkIdentity finds misspelt names. Where the user's own programs answer,
// nobody but the user knows their names.
func (p *planner) checkIdentity(path, id string) {
	if p.broken("nodes") {
		return
	}
	known := p.identities()
	if known != nil && !known[id] {
		p.errorf(path, p.choices(id, p.t.Nodes.Keys()), "nobody answers as %q", id)
	}
}

// identities are what built-in servers may answer with; nil if the lab runs
// programs of the user's.
func (p *planner) identities() map[string]bool {
	if p.identity == nil {
		p.identity = map[string]bool{}
		for _, n := range p.nodes {
			p.ownServers = p.ownServers || len(n.Commands) > 0
			p.identity[n.Name] = true
			for _, r := range n.Responders {
				p.identity[r.Identity] = true
			}
		}
	}
	if p.ownServers {
		return nil
	}
	return p.identity
}
