package topology

import (
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// lintTunnel looks at the tunnel between director and real server.
func (p *planner) lintTunnel(s *service, d *destination, dir *node) {
	for _, vip := range s.vips {
		itf := findTunnel(d.node.Node, tunnelFor(d, vip))
		if itf == nil {
			p.warn(TUNNoDevice, d.path, "leave its defaults.tunnel on, or add an interface of kind "+string(tunnelFor(d, vip).Kind),
				"real server %q has nothing to decapsulate with", d.node.Name)
			continue
		}
		all := setting(d.node, "net.ipv4.conf.all.rp_filter")
		own := setting(d.node, "net.ipv4.conf."+sysctlName(itf.Name)+".rp_filter")
		if vip.Is4() && max(all, own) == "1" {
			p.warn(TUNRPFilter, d.path, "set rp_filter to 0 on all and on the tunnel",
				"rp_filter of %q drops what comes out of %s", d.node.Name, itf.Name)
		}
		p.lintTunnelMTU(d, dir, vip)
	}
}

// lintTunnelMTU compares what clients may send with what fits into the tunnel.
func (p *planner) lintTunnelMTU(d *destination, dir *node, vip netip.Addr) {
	outer := mtuTowards(p, dir, d.Addr)
	for _, c := range p.clientSamples() {
		inner := mtuTowards(p, c, vip)
		if inner == 0 || outer == 0 || inner+overhead(d) <= outer {
			continue
		}
		p.warn(TUNMTU, d.path, "raise the mtu of the networks between director and real server",
			"client %q sends packets of up to %d bytes, but with %d bytes of tunnel only %d fit into the MTU %d; larger ones need ICMP or stall",
			c.Name, inner, overhead(d), outer-overhead(d), outer)
	}
}

// mtuTowards is the MTU of the interface by which a node sends to an address; 0 if unknown.
func mtuTowards(p *planner, n *node, a netip.Addr) int {
	if h := p.way(n, a); h.via.IsValid() {
		a = h.via
	}
	if itf := onLink(n.Node, a); itf != nil {
		return itf.MTU
	}
	return 0
}

// lintListeners refuses servers that can't bind their address: nothing would
// come up.
func (p *planner) lintListeners(n *node) {
	if n.spec.Serve == nil {
		return
	}
	for i, r := range *n.spec.Serve {
		path := n.path + ".serve[" + itoa(i) + "].address"
		for j, a := range r.Address {
			if !a.IsLoopback() && !hasAddress(n.Node, a) {
				p.errorf(indexed(path, path, j, p), "take one of its own, or leave address out", "node %q has no address %s", n.Name, a)
			}
		}
	}
}

// lintServers looks for a server behind every real port.
func (p *planner) lintServers(d *destination) {
	n := d.node
	if len(n.Commands) > 0 {
		return
	}
	for _, r := range d.ports() {
		to := d.Addr
		if d.Forward != lb.NAT {
			to = r.vip
		}
		p.lintServer(d, r.proto, r.First, to)
	}
}

func (p *planner) lintServer(d *destination, proto lb.Protocol, port uint16, to netip.Addr) {
	n := d.node
	missed := false
	for _, r := range n.Responders {
		if r.Port != port || r.Transport() != proto {
			continue
		}
		switch {
		case len(r.Addrs) == 0 && proto == lb.UDP && d.Forward != lb.NAT:
			p.warn(UDPDRSource, d.path, "say address: "+to.String(),
				"the server of %q on udp port %d is bound to any address and answers from its own, not from the VIP", n.Name, port)
			return
		case len(r.Addrs) == 0 || slices.Contains(r.Addrs, to):
			return
		}
		missed = true
	}
	if missed {
		p.warn(ListenAddress, d.path, "bind it, or any address", "nothing on %q listens on %s port %s %d", n.Name, to, proto, port)
		return
	}
	p.warn(ServerDown, d.path, "add it to serve, or run a program", "nothing on %q serves %s port %d", n.Name, proto, port)
}
