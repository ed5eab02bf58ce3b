package topology

import (
	"cmp"
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ipvslab/ipvslab/lb"
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

// hostPrefix is an address with its prefix length, or with the whole one.
func hostPrefix(a AddressSpec) netip.Prefix {
	if a.Bits < 0 {
		return netip.PrefixFrom(a.Addr, a.Addr.BitLen())
	}
	return netip.PrefixFrom(a.Addr, a.Bits)
}

func (p *planner) addInterface(n *node, key string, spec *InterfaceSpec, replica int) {
	path := join(n.path+".interfaces", key)
	itf := Interface{
		Name: cmp.Or(spec.Name, key), Kind: cmp.Or(spec.Kind, VethIface), MAC: string(spec.MAC), MTU: spec.MTU,
		Local: spec.Local, Remote: spec.Remote, Port: spec.Port, Down: spec.Down,
	}
	p.checkLinkName(path, "interface", itf.Name)
	if _, twice := n.ifPath[itf.Name]; twice {
		p.errorf(path, "", "the node has another interface %q", itf.Name)
		return
	}
	n.ifPath[itf.Name] = path
	var network *Network
	if itf.Kind == VethIface {
		itf.Network = cmp.Or(spec.Network, key)
		network = p.nets[itf.Network]
		if network == nil {
			p.errorf(path, p.choices(itf.Network, p.t.Networks.Keys()), "there is no network %q", itf.Network)
			return
		}
		itf.MTU = cmp.Or(itf.MTU, network.MTU)
		if itf.MAC == "" {
			itf.MAC = deriveMAC(p.plan.Name, n.Name, itf.Name)
		} else if n.spec.Replicas > 0 {
			p.errorf(path+".mac", "leave it out: each gets its own", "one hardware address for %d replicas", n.spec.Replicas)
		}
	}
	p.checkKind(path, spec, itf)
	for i, a := range spec.Addresses {
		if a.Addr.IsValid() {
			p.addAddress(&itf, network, a, indexed(path+".addresses", path, i, p), replica)
		}
	}
	n.Interfaces = append(n.Interfaces, itf)
}

// checkKind refuses what a kind of link can't have.
func (p *planner) checkKind(path string, spec *InterfaceSpec, itf Interface) {
	tunnel := itf.Kind != VethIface && itf.Kind != DummyIface
	switch {
	case itf.Kind != VethIface && spec.Network != "":
		p.errorf(path+".network", "leave network or kind out", "a %s link is on no network", itf.Kind)
	case !tunnel && (spec.Local.IsValid() || spec.Remote.IsValid()):
		p.errorf(path, "allowed with kind: ipip, ip6tnl, sit, gre, gue", "local or remote on a %s link", itf.Kind)
	case tunnel && spec.MAC != "":
		p.errorf(path+".mac", "leave it out", "a tunnel of kind %s has no hardware address", itf.Kind)
	case itf.Kind == GUEIface && spec.Port == 0:
		p.errorf(path, "say port: 6080, or another", "a gue tunnel without its UDP port")
	case itf.Kind != GUEIface && spec.Port != 0:
		p.errorf(path+".port", "allowed with kind: gue", "a port on a %s link", itf.Kind)
	case spec.Local.IsValid() && spec.Remote.IsValid() && spec.Local.Is4() != spec.Remote.Is4():
		p.errorf(path, "", "the tunnel's ends %s and %s are of two families", spec.Local, spec.Remote)
	}
}

func (p *planner) addAddress(itf *Interface, network *Network, a AddressSpec, path string, replica int) {
	if network == nil {
		itf.Addresses = append(itf.Addresses, Address{Prefix: hostPrefix(a)})
		return
	}
	var within netip.Prefix
	for _, prefix := range network.Prefixes {
		if prefix.Contains(a.Addr) {
			within = prefix
		}
	}
	addr := addN(a.Addr, replica)
	switch {
	case !within.IsValid() && p.broken(join("networks", network.Name)):
		return
	case !within.IsValid():
		p.report(WrongSubnet, Error, path, "allowed: "+prefixList(network.Prefixes),
			"%s is in no prefix of network %q", a.Addr, network.Name)
	case !within.Contains(addr), replica > 0 && reservedIn(within, addr):
		p.errorf(path, "take a wider prefix", "%d replicas from %s on don't fit into %s", replica+1, a.Addr, within)
		return
	case reservedIn(within, addr):
		p.errorf(path, "choose an address between", "%s is the first or the last address of %s and can't be a host's", addr, within)
		return
	}
	bits := a.Bits
	if bits < 0 && within.IsValid() {
		bits = within.Bits()
	}
	itf.Addresses = append(itf.Addresses, Address{Prefix: hostPrefix(AddressSpec{addr, bits})})
}

// reservedIn tells an IPv4 network's own address and its broadcast address;
// /31 and /32 have none (RFC 3021).
func reservedIn(prefix netip.Prefix, a netip.Addr) bool {
	if !a.Is4() || prefix.Bits() >= 31 {
		return false
	}
	return a == prefix.Addr() || !prefix.Contains(a.Next())
}

// addN is the n-th address after a.
func addN(a netip.Addr, n int) netip.Addr {
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0 && n > 0; i-- {
		n += int(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}

// deriveMAC makes a hardware address of names: unicast, locally administered
// (IEEE 802, the two low bits of the first octet), and the same on every run.
func deriveMAC(lab, node, itf string) string {
	sum := sha256.Sum256([]byte(lab + "\x00" + node + "\x00" + itf))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^0x01 | 0x02
	return mac.String()
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

func (p *planner) addRules(n *node) {
	for i, r := range n.spec.Rules {
		path := n.path + ".rules[" + itoa(i) + "]"
		families := map[lb.Family]bool{}
		for _, prefix := range []netip.Prefix{r.From, r.To} {
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
			Family: lb.IPv4, Priority: r.Priority, From: r.From, To: r.To, IIF: r.IIF, FWMark: r.FWMark, Table: r.Table,
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
