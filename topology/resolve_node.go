package topology

import (
	"cmp"
	"net/netip"
	"strconv"
)

// The bounds on what a file may make, far above what is of use: replicas
// multiply quickly, and ways are looked for between all forwarding nodes.
const (
	maxNodes        = 10_000
	maxForwarders   = 250
	maxNetworks     = 1_000
	maxDestinations = 65_536
)

func itoa(i int) string { return strconv.Itoa(i) }

func (p *planner) resolveNodes() {
	if len(p.t.Nodes) == 0 && !p.broken("nodes") && p.t.pos["nodes"].Line != 0 {
		p.errorf("nodes", "", "there is no node")
	}
	total, forwarders := 0, 0
	for i := range p.t.Nodes {
		spec := &p.t.Nodes[i].Value
		total += max(spec.Replicas, 1)
		if spec.Role == Director || spec.Role == Router || saysForward(spec, false) == "1" || saysForward(spec, true) == "1" {
			forwarders += max(spec.Replicas, 1)
		}
	}
	if forwarders > maxForwarders {
		p.errorf("nodes", "allowed: at most "+itoa(maxForwarders), "the file makes %d nodes that forward", forwarders)
		return
	}
	if total > maxNodes {
		p.errorf("nodes", "allowed: at most "+itoa(maxNodes), "the file makes %d nodes", total)
		return
	}
	p.plan.Nodes = make([]Node, 0, total) // never grows: p.nodes points into it
	for i := range p.t.Nodes {
		e := &p.t.Nodes[i]
		path := join("nodes", e.Key)
		if !nodeName.MatchString(e.Key) || len(e.Key) > maxName {
			p.errorf(path, nameRule, "found the node's name %q", e.Key)
		}
		if e.Value.Replicas == 0 {
			p.addNode(e.Key, e.Key, path, &e.Value, 0)
		}
		for r := range e.Value.Replicas {
			p.addNode(e.Key+"-"+itoa(r+1), e.Key, path, &e.Value, r)
		}
	}
	p.checkDuplicates()
	p.checkVeths()
}

func (p *planner) addNode(name, group, path string, spec *NodeSpec, replica int) {
	if p.byName[name] != nil {
		p.errorf(path, "rename one of them", "the replica %q has the name of another node", name)
		return
	}
	p.plan.Nodes = append(p.plan.Nodes, Node{Name: name, Role: cmp.Or(spec.Role, NoRole)})
	n := &node{Node: &p.plan.Nodes[len(p.plan.Nodes)-1], spec: spec, path: path, ifPath: map[string]string{}}
	p.nodes = append(p.nodes, n)
	p.byName[name] = n
	p.groups[group] = append(p.groups[group], n)
	for _, e := range spec.Interfaces {
		p.addInterface(n, e.Key, &e.Value, replica)
	}
	for _, a := range spec.Loopback {
		if a.Addr.IsValid() {
			n.Loopback = append(n.Loopback, Address{Prefix: hostPrefix(a)})
		}
	}
	p.addRoutes(n)
	p.addRules(n)
	p.addCommands(n)
	p.addServe(n)
}

// checkDuplicates finds addresses that two interfaces on networks have, and
// hardware addresses that two interfaces of one network have.
func (p *planner) checkDuplicates() {
	addrs, macs := map[netip.Addr]string{}, map[string]string{}
	for _, n := range p.nodes {
		for _, itf := range n.Interfaces {
			if itf.Kind != VethIface {
				continue
			}
			where := n.Name + "'s " + itf.Name
			for _, a := range itf.Addresses {
				if other, twice := addrs[a.Prefix.Addr()]; twice {
					p.report(DuplicateAddress, Error, n.ifPath[itf.Name], "give it another", "%s is the address of %s already",
						a.Prefix.Addr(), other)
				}
				addrs[a.Prefix.Addr()] = where
			}
			key := itf.Network + " " + itf.MAC
			if other, twice := macs[key]; twice {
				p.report(DuplicateAddress, Error, n.ifPath[itf.Name], "give it another", "%s is the hardware address of %s already",
					itf.MAC, other)
			}
			macs[key] = where
		}
	}
}

func (p *planner) checkVeths() {
	ends := map[string]int{}
	for _, n := range p.nodes {
		for _, itf := range n.Interfaces {
			ends[itf.Network]++
		}
	}
	for _, n := range p.plan.Networks {
		if n.Kind == Veth && ends[n.Name] != 2 && !p.broken("nodes") {
			p.errorf(join("networks", n.Name), "put two interfaces on it, or take kind: segment", "a veth pair has two ends, not %d", ends[n.Name])
		}
	}
}

func prefixList(prefixes []netip.Prefix) string {
	if len(prefixes) == 0 {
		return "none, for the network has no prefix"
	}
	s := ""
	for i, prefix := range prefixes {
		if i > 0 {
			s += ", "
		}
		s += prefix.String()
	}
	return s
}
