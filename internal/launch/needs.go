package launch

import (
	"slices"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/topology"
)

// Basics are what any lab needs of a kernel, and what `kernel exec` promises.
var Basics = []string{probe.NetAdmin, probe.SysAdmin, probe.Link("veth"), probe.Link("bridge")}

// links are the features behind a plan's kinds of interface.
var links = map[topology.InterfaceKind]string{
	topology.DummyIface: probe.Link("dummy"),
	topology.IPIPIface:  probe.Link("ipip"),
	topology.IP6Iface:   probe.Link("ip6tnl"),
	topology.SITIface:   probe.Link("sit"),
	topology.GREIface:   probe.Link("gre"),
	topology.GUEIface:   probe.Link("fou"),
}

// Needs lists the features that a plan needs of a kernel, each once.
func Needs(p *topology.Plan, noServices bool) []string {
	need := slices.Clone(Basics)
	add := func(f string) {
		if f != "" && !slices.Contains(need, f) {
			need = append(need, f)
		}
	}
	for _, n := range p.Nodes {
		if slices.ContainsFunc(n.Responders, func(r topology.Responder) bool { return r.Protocol == "sctp" }) {
			add("socket:sctp")
		}
		for _, i := range n.Interfaces {
			add(links[i.Kind])
			add(links[i.Inside])
			if i.Kind == topology.GREIface && i.Local.Is6() {
				add(probe.Link("ip6gre"))
			}
		}
	}
	for _, s := range p.Scenarios {
		if s.Traffic.Protocol == "sctp" {
			add("socket:sctp")
		}
		for _, f := range s.Faults {
			if f.Do == topology.FaultLoss || f.Do == topology.FaultDelay {
				add("qdisc:netem")
			}
		}
	}
	if noServices {
		return need
	}
	for _, d := range p.Directors { // with files of the user's own, which services they set is not known
		if d.Config != "" || d.Rules != "" || d.Kind == topology.CommandDirector {
			add(probe.IPVS)
		}
	}
	for _, s := range p.Services {
		add(probe.IPVS)
		add(probe.Scheduler(s.Spec.Scheduler))
		if len(s.Marks) > 0 {
			add(probe.SkbEdit)
		}
	}
	return need
}
