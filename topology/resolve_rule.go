package topology

import (
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

func (p *planner) addRules(n *node) {
	for i, r := range n.spec.Rules {
		path := n.path + ".rules[" + itoa(i) + "]"
		families := map[lb.Family]bool{}
		for _, prefix := range []netip.Prefix{r.From.Prefix, r.To.Prefix} {
			if prefix.IsValid() {
				families[lb.FamilyOf(prefix.Addr())] = true
			}
		}
		if f := familyOf(r.Family); f != 0 {
			families[f] = true
		}
		if len(families) > 1 {
			p.errorf(path, "", "the rule mixes IPv4 and IPv6")
		}
		rule := Rule{
			Family: lb.IPv4, Priority: r.Priority, From: r.From.Prefix, To: r.To.Prefix, IIF: r.IIF, FWMark: r.FWMark, Table: r.Table,
		}
		if families[lb.IPv6] {
			rule.Family = lb.IPv6
		}
		if r.IIF != "" && r.IIF != "lo" {
			p.checkDevice(n, path+".iif", r.IIF)
		}
		n.Rules = append(n.Rules, rule)
	}
}

func familyOf(f FamilyName) lb.Family {
	switch f {
	case "ipv4":
		return lb.IPv4
	case "ipv6":
		return lb.IPv6
	}
	return 0
}

func (p *planner) checkDevice(n *node, path, name string) {
	names := make([]string, 0, len(n.Interfaces))
	for _, itf := range n.Interfaces {
		names = append(names, itf.Name)
	}
	if !slices.Contains(names, name) && name != "lo" && !p.broken(n.path+".interfaces") {
		p.errorf(path, p.choices(name, names), "the node has no interface %q", name)
	}
}
