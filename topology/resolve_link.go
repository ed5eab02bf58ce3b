package topology

import (
	"cmp"
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"
)

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
	if itf.Kind == GUEIface {
		itf.Inside = insideGUE(itf.Local.Is6(), allIPv6(spec.Addresses))
	}
	p.checkKind(path, spec, itf)
	for i, a := range spec.Addresses {
		if a.Addr.IsValid() {
			p.addAddress(&itf, network, a, indexed(path+".addresses", path, i, p), replica)
		}
	}
	n.Interfaces = append(n.Interfaces, itf)
}

// allIPv6 tells whether there are addresses, and none of IPv4.
func allIPv6(list []AddressSpec) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(a AddressSpec) bool { return a.Addr.Is4() })
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
