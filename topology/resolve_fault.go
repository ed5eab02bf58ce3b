package topology

import (
	"cmp"
	"slices"
	"time"
)

// The defaults of timed traffic.
const (
	afterFaults    = 5 * time.Second
	defaultRate    = 50
	defaultStreams = 10
	defaultEvery   = 20 * time.Millisecond
	leastEvery     = time.Millisecond
	mostDuration   = time.Hour
)

// scenarioFaults resolves what goes wrong, in order of happening.
func (p *planner) scenarioFaults(path string, specs []FaultSpec) []Fault {
	var out []Fault
	for i, sp := range specs {
		at := path + "[" + itoa(i) + "]"
		if p.broken(at) {
			continue
		}
		f := Fault{
			At: time.Duration(sp.At), Do: sp.Do, Node: sp.Node, Process: sp.Process, Interface: sp.Interface,
			With: sp.With, Direction: Direction(sp.Direction), Loss: float64(sp.Loss), Delay: time.Duration(sp.Delay), Jitter: time.Duration(sp.Jitter),
		}
		if f.Direction == "both" {
			f.Direction = ""
		}
		if err := f.Check(); err != nil {
			p.errorf(at, "see `ipvslab fault --help`", "%v", err)
		}
		p.checkFault(at, f)
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return out
}

// checkFault holds a fault against the nodes that there are.
func (p *planner) checkFault(path string, f Fault) {
	if p.broken("nodes") {
		return
	}
	n := p.faultNode(path+".node", f.Node)
	for i, name := range f.With {
		other := p.faultNode(indexed(path+".with", path+".with", i, p), name)
		if n != nil && other != nil && f.OnLine() && !slices.ContainsFunc(n.Interfaces, func(a Interface) bool {
			return a.Network != "" && slices.ContainsFunc(other.Interfaces, func(b Interface) bool { return a.Network == b.Network })
		}) {
			p.errorf(path+".with", "name a node that is next to it", "%q and %q share no network", f.Node, name)
		}
	}
	if n == nil {
		return
	}
	if f.OnLine() && f.Interface != "" {
		var names []string
		for _, i := range n.Interfaces {
			if i.Network != "" {
				names = append(names, i.Name)
				if i.Network == f.Interface || i.Name == f.Interface {
					return
				}
			}
		}
		p.errorf(path+".interface", p.choices(f.Interface, names), "node %q has no interface %q on a network", f.Node, f.Interface)
	}
}

// lintFaults finds faults of processes that there are not.
func (p *planner) lintFaults() {
	for _, e := range p.t.Scenarios {
		for i, sp := range e.Value.Faults {
			f := Fault{Do: sp.Do, Node: sp.Node, Process: sp.Process}
			n := p.byName[sp.Node]
			if n == nil || !f.OnProcess() {
				continue
			}
			if _, err := n.ProcessOf(f, n.Role == Director); err != nil {
				p.errorf(join("scenarios", e.Key)+".faults["+itoa(i)+"]", "", "%v", err)
			}
		}
	}
}

func (p *planner) faultNode(path, name string) *node {
	group := p.lookup(path, name)
	if len(group) > 1 {
		p.errorf(path, "say one of them, such as "+group[0].Name, "%q are %d nodes", name, len(group))
	}
	if len(group) != 1 {
		return nil
	}
	return group[0]
}

// timeTraffic completes traffic that is timed: because it says so, because
// what is expected of it needs time, or because a fault comes in its middle.
func (p *planner) timeTraffic(path string, sp *ScenarioSpec, s *Scenario) {
	t := &sp.Traffic
	last := time.Duration(0)
	for _, f := range s.Faults {
		last = max(last, f.At)
	}
	if t.Duration == 0 && t.Rate == nil && t.Streams == nil && t.Every == 0 && sp.Expect.Handover == nil && last == 0 {
		return
	}
	if t.Connections != 0 || t.Concurrency != 0 || t.Hold {
		p.errorf(path+".traffic", "leave connections, concurrency and hold out", "traffic that is timed has a rate and streams, and no number of connections")
	}
	if sp.Expect.Distribution != "" || len(sp.Expect.Sequence)+len(sp.Expect.Counts) > 0 || sp.Expect.Outcome != "" {
		p.errorf(path+".expect", "say handover: {gap: ..., streams: ...}", "the distribution or outcome of traffic that is timed")
	}
	out := &s.Traffic
	if out.Protocol == "sctp" {
		p.errorf(path+".traffic", "say connections, or visit it with a program of your own", "traffic that is timed can't speak sctp")
	}
	out.Connections, out.Concurrency = 0, 0
	out.Duration = cmp.Or(time.Duration(t.Duration), last+afterFaults)
	out.Rate, out.Streams, out.Every = defaultRate, defaultStreams, cmp.Or(time.Duration(t.Every), defaultEvery)
	if t.Rate != nil {
		out.Rate = *t.Rate
	}
	if t.Streams != nil {
		out.Streams = *t.Streams
	}
	switch {
	case out.Rate == 0 && out.Streams == 0:
		p.errorf(path+".traffic", "say one", "neither a rate nor streams")
	case last > out.Duration:
		p.errorf(path+".traffic.duration", "say "+(last+afterFaults).String(), "it ends after %v, before the fault at %v", out.Duration, last)
	case out.Duration > mostDuration:
		p.errorf(path+".traffic.duration", "allowed: at most "+mostDuration.String(), "found %v", out.Duration)
	case out.Every < leastEvery:
		p.errorf(path+".traffic.every", "allowed: at least "+leastEvery.String(), "found %v", out.Every)
	}
}

// handover resolves what clients may notice.
func (p *planner) handover(path string, sp *HandoverSpec) *Handover {
	if sp == nil {
		return nil
	}
	out := &Handover{
		Gap: time.Duration(sp.Gap), Lost: sp.Lost, Streams: string(sp.Streams),
		Active: sp.Active, TwoActive: (*time.Duration)(sp.TwoActive),
	}
	if sp.Active != "" && !p.broken("failover") {
		var members []string
		for _, g := range p.failover {
			for _, m := range g.Members {
				members = append(members, m.Node)
			}
		}
		if !slices.Contains(members, sp.Active) {
			p.errorf(path+".active", p.choices(sp.Active, members), "%q is in no failover group", sp.Active)
		}
	}
	if sp.TwoActive != nil && len(p.failover) == 0 && !p.broken("failover") {
		p.errorf(path+".twoActive", "leave it out", "there is no failover group")
	}
	return out
}
