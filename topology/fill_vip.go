package topology

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// on tells whether a default is left on.
func on(b *bool) bool { return b == nil || *b }

// placeVIPs puts every VIP on the interface of the service's first director
// whose network has it. Further directors hold the service's table without the
// address: two owners would fight for it by ARP.
func (p *planner) placeVIPs() {
	for _, s := range p.services {
		if len(s.directors) == 0 || p.broken(s.path) {
			continue
		}
		d := s.directors[0]
		for _, vip := range s.vips {
			p.checkVIPOwner(s, vip)
			if s.group == nil && !hasAddress(d.Node, vip) {
				p.placeVIP(s, d, vip)
			}
		}
	}
}

func (p *planner) placeVIP(s *service, d *node, vip netip.Addr) {
	if !on(d.spec.Defaults.VIP) || p.broken(d.path) || p.broken("networks") {
		return
	}
	itf := onLink(d.Node, vip)
	if itf == nil {
		p.errorf(s.path, "take one of a network's, or put it on the director's loopback or a dummy interface",
			"the VIP %s is on no network of director %q", vip, d.Name)
		return
	}
	itf.Addresses = append(itf.Addresses, vipAddress(vip, fmt.Sprintf("role director: carries service %s", s.Name)))
}

func vipAddress(vip netip.Addr, why string) Address {
	return Address{Prefix: netip.PrefixFrom(vip, vip.BitLen()), VIP: true, Origin: Origin(why)}
}

// checkVIPOwner finds a VIP that is another node's own address on a network,
// and marks the VIP where the file has put it.
func (p *planner) checkVIPOwner(s *service, vip netip.Addr) {
	carrier := map[string]bool{}
	for _, d := range s.directors {
		carrier[d.Name] = true
	}
	for _, n := range p.nodes {
		for i := range n.Interfaces {
			itf := &n.Interfaces[i]
			for j := range itf.Addresses {
				a := &itf.Addresses[j]
				if a.Prefix.Addr() != vip {
					continue
				}
				switch {
				case itf.Kind != VethIface || carrier[n.Name]:
				case a.VIP && a.Origin != "":
					p.report(DuplicateAddress, Error, s.path, fmt.Sprintf("let %s carry both, choose another VIP, or make a failover group of the directors", n.Name),
						"director %q has the VIP %s already, for another service, and no two can", n.Name, vip)
				default:
					p.report(DuplicateAddress, Error, s.path, "choose another VIP", "the VIP %s is the address of %s's %s", vip, n.Name, itf.Name)
				}
				a.VIP = true
			}
		}
		for j := range n.Loopback {
			if n.Loopback[j].Prefix.Addr() == vip {
				n.Loopback[j].VIP = true
			}
		}
	}
}

// checkVIPMasks finds a real server's VIP with a whole network's mask: it makes
// that network unreachable.
func (p *planner) checkVIPMasks() {
	for _, n := range p.nodes {
		if len(n.serves) == 0 {
			continue
		}
		check := func(path string, a Address) {
			if a.VIP && !a.Prefix.IsSingleIP() && !p.ownVIP(n, a.Prefix.Addr()) {
				p.report(DRVIPNetmask, Error, path, fmt.Sprintf("write %s/%d", a.Prefix.Addr(), a.Prefix.Addr().BitLen()),
					"the VIP %s with a network's mask: the real server takes the whole network for its own", a.Prefix)
			}
		}
		for i, a := range n.Loopback {
			check(indexed(n.path+".loopback", n.path+".loopback", i, p), a)
		}
		for _, itf := range n.Interfaces {
			for _, a := range itf.Addresses {
				if itf.Kind != VethIface {
					check(n.ifPath[itf.Name], a)
				}
			}
		}
	}
}

// ownVIP tells whether the node carries a service on this VIP.
func (p *planner) ownVIP(n *node, vip netip.Addr) bool {
	for _, s := range n.carries {
		for _, v := range s.vips {
			if v == vip {
				return true
			}
		}
	}
	return false
}

// fillVIPs gives DR real servers their VIPs on lo.
func (p *planner) fillVIPs() {
	for _, n := range p.nodes {
		for _, d := range n.serves {
			if d.Forward != lb.DR || !on(n.spec.Defaults.VIP) || n.Role == NoRole || slices.Contains(d.svc.directors, n) {
				continue // a director of the service has the VIP, or waits for it
			}
			for _, vip := range d.svc.vips {
				if !hasAddress(n.Node, vip) {
					n.Loopback = append(n.Loopback, vipAddress(vip, "role realserver: dr for service "+d.svc.Name))
				}
			}
		}
	}
}

// tunnelFor is the link that decapsulates a destination's packets for a VIP.
// tunl0 and sit0 are the kernel's own devices for any remote end. Its ip6tnl0
// takes IPv6 alone (ip6_fb_tnl_dev_init), so IPv6 gets a device of its own; a
// name without number is completed by freeName.
func tunnelFor(d *destination, vip netip.Addr) Interface {
	outer6, inner6 := d.Addr.Is6(), vip.Is6()
	itf := Interface{Local: d.Addr}
	switch {
	case d.Tunnel.Type == lb.GUE:
		itf.Name, itf.Kind, itf.Port = "gue"+itoa(int(d.Tunnel.Port)), GUEIface, d.Tunnel.Port
		itf.Inside = insideGUE(outer6, inner6)
		itf.Name += map[InterfaceKind]string{SITIface: "sit", IP6Iface: "six"}[itf.Inside]
	case d.Tunnel.Type == lb.GRE:
		itf.Name, itf.Kind = "gre", GREIface
		itf.Checksum = d.Tunnel.Flags&tunnelChecksum != 0
	case outer6:
		itf.Name, itf.Kind = "ip6tnl", IP6Iface
	case inner6:
		itf.Name, itf.Kind, itf.Local = "sit0", SITIface, netip.Addr{}
	default:
		itf.Name, itf.Kind, itf.Local = "tunl0", IPIPIface, netip.Addr{}
	}
	return itf
}

// insideGUE is the kind of device that takes GUE's packets, of protocol 4 or 41,
// as they come out of UDP (net/ipv4/tunnel4.c, net/ipv6/tunnel6.c).
func insideGUE(outer6, inner6 bool) InterfaceKind {
	switch {
	case outer6:
		return IP6Iface
	case inner6:
		return SITIface
	}
	return IPIPIface
}

// overhead is what an encapsulation adds to a packet, in bytes: the outer
// header (RFC 791, 8200), and UDP with GUE's or GRE's (RFC 2784) own.
func overhead(d *destination) int {
	n := 20
	if d.Addr.Is6() {
		n = 40
	}
	switch d.Tunnel.Type {
	case lb.GUE:
		n += 8 + 4
		if d.Tunnel.Flags&tunnelRemoteChecksum != 0 {
			n += 8 // private flags and the option (include/net/gue.h)
		}
	case lb.GRE:
		n += 4
		if d.Tunnel.Flags&tunnelChecksum != 0 {
			n += 4
		}
	}
	return n
}

func (p *planner) fillTunnels() {
	for _, n := range p.nodes {
		for _, d := range n.serves {
			if d.Forward != lb.TUN || n.Role == NoRole || slices.Contains(d.svc.directors, n) {
				continue
			}
			for _, vip := range d.svc.vips {
				p.fillTunnel(n, d, vip)
			}
		}
	}
}

func (p *planner) fillTunnel(n *node, d *destination, vip netip.Addr) {
	why := "role realserver: tun for service " + d.svc.Name
	want := tunnelFor(d, vip)
	itf := findTunnel(n.Node, want)
	if itf == nil {
		itf = p.takeGUE(n, d, want)
	}
	if itf == nil && p.checksumsDiffer(n, d, want) {
		return
	}
	if itf == nil && on(n.spec.Defaults.Tunnel) {
		want.Origin = Origin(why)
		if carrier := onLink(n.Node, d.Addr); carrier != nil {
			want.MTU = carrier.MTU - overhead(d)
		}
		want.Name = freeName(n, want.Name)
		n.Interfaces = append(n.Interfaces, want)
		n.ifPath[want.Name] = n.path
		itf = &n.Interfaces[len(n.Interfaces)-1]
	}
	if !on(n.spec.Defaults.VIP) || hasAddress(n.Node, vip) {
		return
	}
	if itf == nil {
		n.Loopback = append(n.Loopback, vipAddress(vip, why))
		return
	}
	itf.Addresses = append(itf.Addresses, vipAddress(vip, why))
}

// takeGUE makes the lab's own plain IPv6 tunnel with the same end one for GUE
// too: the kernel tells IPv6 tunnels by their ends alone (net/ipv6/ip6_tunnel.c,
// ip6_tnl_locate), so there can be no second one.
func (p *planner) takeGUE(n *node, d *destination, want Interface) *Interface {
	if want.Kind != GUEIface || want.Inside != IP6Iface {
		return nil
	}
	plain := want
	plain.Kind, plain.Inside, plain.Port = IP6Iface, "", 0
	itf := findTunnel(n.Node, plain)
	if itf == nil || itf.Kind != IP6Iface || itf.Origin == "" {
		return nil
	}
	itf.Kind, itf.Inside, itf.Port = want.Kind, want.Inside, want.Port
	if carrier := onLink(n.Node, d.Addr); carrier != nil {
		itf.MTU = min(itf.MTU, carrier.MTU-overhead(d))
	}
	return itf
}

// checksumsDiffer refuses a second GRE tunnel with the same ends: the kernel
// tells them by ends and key alone, and IPVS has no key (net/ipv4/ip_tunnel.c,
// ip_tunnel_find).
func (p *planner) checksumsDiffer(n *node, d *destination, want Interface) bool {
	for _, itf := range n.Interfaces {
		if want.Kind == GREIface && itf.Kind == GREIface && itf.Local == want.Local && itf.Checksum != want.Checksum {
			p.errorf(d.path+".tunnel", "say the same checksum in all services, or another address",
				"a gre tunnel takes packets with a checksum or without, and another service's to %s of %q are otherwise", d.Addr, n.Name)
			return true
		}
	}
	return false
}

// findTunnel is the node's link that decapsulates the same, or nil.
func findTunnel(n *Node, want Interface) *Interface {
	for i := range n.Interfaces {
		itf := &n.Interfaces[i]
		anyEnd := !itf.Local.IsValid() || itf.Local == want.Local
		if itf.Kind == want.Kind && itf.Port == want.Port && itf.Inside == want.Inside && itf.Checksum == want.Checksum && anyEnd {
			return itf
		}
		// What GUE carried comes to its IPv6 tunnel like what came without (see takeGUE).
		if want.Kind == IP6Iface && itf.Kind == GUEIface && itf.Inside == IP6Iface && itf.Local == want.Local {
			return itf
		}
	}
	return nil
}

// freeName completes a tunnel's name with the first number that the node has
// not taken; a name that ends in one is that of a device there can be one of.
func freeName(n *node, name string) string {
	if last := name[len(name)-1]; '0' <= last && last <= '9' && n.ifPath[name] == "" {
		return name
	}
	for i := 1; ; i++ {
		if try := name + itoa(i); n.ifPath[try] == "" {
			return try
		}
	}
}
