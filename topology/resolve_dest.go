package topology

import (
	"cmp"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

func (p *planner) resolveRealServers(s *service) {
	seen := map[lb.DestKey]string{}
	for i := range s.spec.RealServers {
		e := &s.spec.RealServers[i]
		path := join(s.path+".realServers", e.Key)
		for _, n := range p.lookup(path, cmp.Or(e.Value.Node, e.Key)) {
			if p.dests++; p.dests > maxDestinations {
				p.errorf("services", "allowed: at most "+itoa(maxDestinations), "too many real servers in all services together")
				return
			}
			d := p.destination(s, n, path, &e.Value)
			if d == nil {
				continue
			}
			if other, twice := seen[d.DestKey]; twice {
				p.errorf(path, "the kernel tells real servers by address and port", "%s is real server %q already", d.DestKey, other)
				continue
			}
			seen[d.DestKey] = n.Name
			s.dests = append(s.dests, d)
			s.Spec.Destinations = append(s.Spec.Destinations, d.Destination)
			s.RealServers = append(s.RealServers, n.Name)
			n.serves = append(n.serves, d)
		}
	}
	p.checkWeights(s)
}

func (p *planner) checkWeights(s *service) {
	for _, d := range s.dests {
		if d.Weight != 0 {
			return
		}
	}
	if len(s.dests) > 0 && !p.broken(s.path+".realServers") {
		p.report(WeightsAllZero, Warning, s.path+".realServers", "give one a weight",
			"every real server has weight 0, so that every connection is refused")
	} else if !p.broken(s.path) && len(s.spec.RealServers) == 0 {
		p.report(WeightsAllZero, Warning, s.path, "say realServers: [NODE, ...]",
			"the service has no real server, so that every connection is refused")
	}
}

func forward(name ForwardName) lb.Forward {
	switch name {
	case "dr":
		return lb.DR
	case "tun":
		return lb.TUN
	}
	return lb.NAT
}

func (p *planner) destination(s *service, n *node, path string, sp *RealServerSpec) *destination {
	d := &destination{svc: s, node: n, path: path, checks: sp.Check}
	d.Forward = forward(cmp.Or(sp.Forwarding, s.spec.Forwarding))
	d.Weight = 1
	if sp.Weight != nil {
		d.Weight = int32(*sp.Weight)
	}
	d.Upper, d.Lower = sp.Upper, sp.Lower
	if d.Lower > d.Upper {
		p.errorf(path, "the kernel refuses it (ERANGE)", "lower %d is more than upper %d", d.Lower, d.Upper)
	}
	if s.spec.OnePacket && d.Forward == lb.NAT {
		p.report(OnePacketNAT, Error, path, "use forwarding: dr or tun",
			"one-packet scheduling keeps no entry by which nat would know an answer: it leaves with the real server's own address")
	}
	d.Port = cmp.Or(sp.Port, s.Spec.Port)
	p.checkPort(s, d, path, sp)
	p.resolveTunnel(d, path, sp)
	if d.Addr = p.realAddress(s, n, d, path, sp); !d.Addr.IsValid() {
		return nil
	}
	p.checkReach(s, d, path)
	return d
}

func (p *planner) checkPort(s *service, d *destination, path string, sp *RealServerSpec) {
	if sp.Port == 0 {
		return
	}
	if s.spec.FWMark == 0 && s.Spec.Port == sp.Port {
		return
	}
	if d.Forward != lb.NAT {
		p.report(DRPortMismatch, Error, path, "use the virtual port, or forwarding: nat",
			"port %d behind virtual port %d: %s does not translate ports", sp.Port, s.Spec.Port, forwardWord(d.Forward))
	}
}

func forwardWord(f lb.Forward) ForwardName {
	switch f {
	case lb.DR:
		return "dr"
	case lb.TUN:
		return "tun"
	}
	return "nat"
}

// IP_VS_TUNNEL_ENCAP_FLAG_CSUM and _REMCSUM, include/uapi/linux/ip_vs.h.
const (
	tunnelChecksum       = 1
	tunnelRemoteChecksum = 2
)

func (p *planner) resolveTunnel(d *destination, path string, sp *RealServerSpec) {
	t := sp.Tunnel
	if t == nil {
		return
	}
	if d.Forward != lb.TUN {
		p.errorf(path+".tunnel", "allowed with forwarding: tun", "a tunnel with forwarding %s", forwardWord(d.Forward))
		return
	}
	switch t.Type {
	case "gue":
		d.Tunnel = lb.Tunnel{Type: lb.GUE, Port: t.Port}
		if t.Port == 0 && !p.broken(path+".tunnel") {
			p.errorf(path+".tunnel", "say {type: gue, port: 6080}, or another", "a gue tunnel without its UDP port")
		}
	case "gre":
		d.Tunnel.Type = lb.GRE
	}
	if t.Type != "gue" && t.Port != 0 {
		p.errorf(path+".tunnel.port", "allowed with type: gue", "a port on an %s tunnel", cmp.Or(t.Type, "ipip"))
	}
	switch t.Checksum {
	case "csum":
		d.Tunnel.Flags = tunnelChecksum
	case "remcsum":
		d.Tunnel.Flags = tunnelRemoteChecksum
	}
	if d.Tunnel.Flags != 0 && d.Tunnel.Type == lb.IPIP {
		p.errorf(path+".tunnel.checksum", "allowed with type: gue or gre", "an ipip tunnel has no checksum")
	}
}

// realAddress is the file's address for a real server, or the node's best one:
// of the service's family before the other, on a network shared with the
// director before any other, in the node's own order.
func (p *planner) realAddress(s *service, n *node, d *destination, path string, sp *RealServerSpec) netip.Addr {
	if sp.Address.IsValid() {
		if !hasAddress(n.Node, sp.Address) && !p.broken(n.path) {
			p.errorf(path+".address", "take one of its own", "node %q has no address %s", n.Name, sp.Address)
		}
		p.checkFamily(s, d, path, sp.Address)
		return sp.Address
	}
	var best netip.Addr
	rank := 0
	for _, itf := range n.Interfaces {
		for _, a := range itf.Addresses {
			addr := a.Prefix.Addr()
			r := 1
			if lb.FamilyOf(addr) == s.Spec.Family {
				r += 2
			}
			if s.onDirectorLink(addr) {
				r++
			}
			if r > rank {
				best, rank = addr, r
			}
		}
	}
	if !best.IsValid() && !p.broken(n.path) && !p.broken("networks") {
		p.errorf(path, "give it an interface with an address", "node %q has no address", n.Name)
	}
	if best.IsValid() {
		p.checkFamily(s, d, path, best)
	}
	return best
}

// checkFamily refuses what IPVS refuses: a destination of another family than
// the service's takes a tunnel (ip_vs_ctl.c, ip_vs_genl_set_cmd).
func (p *planner) checkFamily(s *service, d *destination, path string, a netip.Addr) {
	if s.Spec.Family != 0 && lb.FamilyOf(a) != s.Spec.Family && d.Forward != lb.TUN && !p.broken(d.node.path) {
		p.errorf(path, "give it an address of the service's family, or take forwarding: tun",
			"%s of %q is IPv%d, the service is IPv%d; %s can't mix them", a, d.node.Name, lb.FamilyOf(a), s.Spec.Family, forwardWord(d.Forward))
	}
}

// onDirectorLink tells whether one of the service's directors is on a network
// that has the address.
func (s *service) onDirectorLink(a netip.Addr) bool {
	for _, d := range s.directors {
		if onLink(d.Node, a) != nil {
			return true
		}
	}
	return false
}

func (p *planner) checkReach(s *service, d *destination, path string) {
	if d.Forward != lb.DR || p.broken("nodes") || p.broken("networks") {
		return
	}
	for _, dir := range s.directors {
		if dir != d.node && onLink(dir.Node, d.Addr) == nil {
			p.report(DRNotOnLink, Error, path, "put both on one network, or take forwarding: tun",
				"%s of %q is on no network of director %q; dr changes only the MAC address", d.Addr, d.node.Name, dir.Name)
		}
	}
}

// onLink is the node's interface on whose network an address is, or nil.
func onLink(n *Node, a netip.Addr) *Interface {
	for i := range n.Interfaces {
		for _, own := range n.Interfaces[i].Addresses {
			if own.Prefix.Masked().Contains(a) && !own.Prefix.IsSingleIP() {
				return &n.Interfaces[i]
			}
		}
	}
	return nil
}

// hasAddress tells whether a node has an address on any of its links, lo included.
func hasAddress(n *Node, a netip.Addr) bool {
	for _, own := range n.Loopback {
		if own.Prefix.Addr() == a {
			return true
		}
	}
	for i := range n.Interfaces {
		for _, own := range n.Interfaces[i].Addresses {
			if own.Prefix.Addr() == a {
				return true
			}
		}
	}
	return false
}
