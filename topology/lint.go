package topology

import (
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// lint looks at the filled plan for what comes up but won't work, or not as
// its author thinks. All of it is a warning: a lab may want to show it.
func (p *planner) lint() {
	for _, n := range p.nodes {
		p.lintNode(n)
		p.lintDirector(n)
	}
	for _, s := range p.services {
		p.lintVIPs(s)
		p.lintPersistence(s)
		for _, d := range s.dests {
			p.lintDestination(s, d)
		}
		if s.sorry != nil {
			p.lintDestination(s, s.sorry)
		}
	}
	p.lintFaults()
}

func (p *planner) warn(id FailureMode, path, hint, format string, args ...any) {
	p.report(id, Warning, path, hint, format, args...)
}

func (p *planner) lintNode(n *node) {
	for _, itf := range n.Interfaces {
		path := n.ifPath[itf.Name]
		if itf.Down {
			p.warn(LinkDown, path, "leave down out", "%s of %q is left down", itf.Name, n.Name)
		}
		if net := p.nets[itf.Network]; net != nil && itf.MTU != net.MTU {
			p.warn(MTUMismatch, path, "set the network's mtu", "MTU %d on network %q, which has %d", itf.MTU, net.Name, net.MTU)
		}
	}
	p.lintListeners(n)
	for _, e := range n.spec.Sysctls {
		if e.Value == inherit {
			p.warn(HostSysctls, join(n.path+".sysctls", e.Key), "say a value", "the setting depends on the host")
		}
	}
}

// lintVIPs looks at the clients' way to a service.
func (p *planner) lintVIPs(s *service) {
	if len(s.directors) == 0 {
		return
	}
	for _, vip := range s.vips {
		if !p.has(s.directors[0], vip) {
			p.warn(NoRoute, s.path, "leave the director's defaults.vip on, or add the address",
				"no director has the VIP %s", vip)
			continue
		}
		for _, c := range p.clientSamples() {
			if !hasFamily(c.Node, vip.Is6()) {
				continue
			}
			if _, ok := p.trace(c, vip); !ok {
				p.warn(NoRoute, s.path, "add a route, or a router between", "client %q has no way to the VIP %s", c.Name, vip)
			}
		}
	}
}

// lintPersistence counts the clients that persistence can tell apart.
func (p *planner) lintPersistence(s *service) {
	if s.Spec.Timeout == 0 {
		return
	}
	seen := map[netip.Prefix]bool{}
	count := func(a netip.Addr) {
		bits := int(s.Spec.MaskBits)
		if bits == 0 || bits > a.BitLen() {
			bits = a.BitLen()
		}
		if lb.FamilyOf(a) == s.Spec.Family {
			seen[netip.PrefixFrom(a, bits).Masked()] = true
		}
	}
	for _, c := range p.clients() {
		for _, itf := range c.Interfaces {
			for _, a := range itf.Addresses {
				count(a.Prefix.Addr())
			}
		}
	}
	for _, sc := range p.plan.Scenarios {
		for _, a := range sc.Traffic.Sources {
			count(a)
		}
	}
	takers := 0
	for _, d := range s.dests {
		if d.Weight > 0 {
			takers++
		}
	}
	if len(seen) < takers {
		p.warn(PersistenceSkew, s.path+".persistence", "more client addresses, a longer mask, or no persistence",
			"persistence, and fewer client addresses (%d) than real servers (%d): some get nothing", len(seen), takers)
	}
}

func (p *planner) lintDestination(s *service, d *destination) {
	p.lintServers(d)
	if len(s.directors) == 0 || slices.Contains(s.directors, d.node) {
		return
	}
	dir := s.directors[0]
	if _, ok := p.trace(dir, d.Addr); !ok {
		p.warn(NoRoute, d.path, "add a route, or a router between", "director %q has no way to %s of %q", dir.Name, d.Addr, d.node.Name)
	}
	if d.Forward == lb.NAT {
		p.lintNAT(s, d, dir)
		return
	}
	p.lintShared(s, d)
	p.lintStraightBack(s, d)
	if d.Forward == lb.TUN {
		p.lintTunnel(s, d, dir)
	}
}

// addresses are a node's own addresses of a family on its networks.
func (n *node) addresses(v6 bool) []netip.Addr {
	var out []netip.Addr
	for _, itf := range n.Interfaces {
		for _, a := range itf.Addresses {
			if itf.Network != "" && a.Prefix.Addr().Is6() == v6 {
				out = append(out, a.Prefix.Addr())
			}
		}
	}
	return out
}

func (p *planner) lintNAT(s *service, d *destination, dir *node) {
	if !p.forwards(dir, d.Addr.Is6()) {
		p.warn(NoIPForward, d.path, "leave the director's defaults.forward on", "director %q does not forward, and nat needs it", dir.Name)
	}
	for _, c := range p.clientSamples() {
		for _, a := range c.addresses(d.Addr.Is6()) {
			p.lintNATReturn(d, dir, c, a)
		}
	}
	for _, vip := range s.vips {
		itf := onLink(dir.Node, d.Addr)
		if itf == nil || onLink(dir.Node, vip) != itf {
			continue
		}
		if setting(dir, "net.ipv4.conf.all.send_redirects") == "1" ||
			setting(dir, "net.ipv4.conf."+sysctlName(itf.Name)+".send_redirects") == "1" {
			p.warn(OneArmRedirect, d.path, "leave send_redirects at 0",
				"director %q sends ICMP redirects on the network that it shares with client and real server", dir.Name)
		}
	}
}

func (p *planner) lintNATReturn(d *destination, dir, c *node, a netip.Addr) {
	if onLink(d.node.Node, a) != nil {
		p.warn(NATSameSubnet, d.path, "put them on separate networks, or use source NAT with net.ipv4.vs.conntrack=1",
			"client %q is on the network of %q: the answer goes straight to it, past director %q", c.Name, d.node.Name, dir.Name)
		return
	}
	path, ok := p.trace(d.node, a)
	if !ok || !slices.Contains(path, dir) && !p.policyRouted(d.node, path) {
		p.warn(NATNoReturnRoute, d.path, "a default route, or one to the client's network, via the director",
			"the answers of %q to client %q don't go through director %q", d.node.Name, c.Name, dir.Name)
		return
	}
	p.lintGateway(d, path, a)
}

// policyRouted tells whether a traced way ended at a node whose rules may lead anywhere.
func (p *planner) policyRouted(from *node, path []*node) bool {
	for _, n := range append([]*node{from}, path...) {
		if len(n.Rules) > 0 {
			return true
		}
	}
	return false
}

// lintShared looks at a VIP that director and real server both have.
func (p *planner) lintShared(s *service, d *destination) {
	n := d.node
	for _, vip := range s.vips {
		if !hasAddress(n.Node, vip) {
			p.warn(DRVIPMissing, d.path, "leave its defaults.vip on, or add the address to its loopback",
				"real server %q does not have the VIP %s", n.Name, vip)
			continue
		}
		itf := onLink(n.Node, vip)
		if !vip.Is4() || itf == nil {
			continue
		}
		all := setting(n, "net.ipv4.conf.all.arp_ignore")
		own := setting(n, "net.ipv4.conf."+sysctlName(itf.Name)+".arp_ignore")
		if all == "0" && own == "0" {
			p.warn(DRARPFlux, d.path, "leave its defaults.arp on",
				"real server %q answers ARP for the VIP %s, and may draw all traffic to itself", n.Name, vip)
		}
	}
}

// setting is a node's pinned value of a sysctl, "" if it is not pinned.
func setting(n *node, key string) string {
	for _, s := range n.Sysctls {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// lintStraightBack follows the answers of a DR or TUN real server.
func (p *planner) lintStraightBack(s *service, d *destination) {
	for _, vip := range s.vips {
		for _, c := range p.clientSamples() {
			for _, a := range c.addresses(vip.Is6()) {
				path, ok := p.trace(d.node, a)
				if !ok {
					p.warn(NoRoute, d.path, "add a route, or a router between", "real server %q has no way back to client %q", d.node.Name, c.Name)
				}
				for _, hop := range path {
					if hop != c && p.has(hop, vip) {
						p.warn(NoRoute, d.path, "answer through a router, or take forwarding: nat",
							"the answers of %q go through %q, which drops them, since the VIP %s is its own", d.node.Name, hop.Name, vip)
					}
				}
			}
		}
	}
}
