package topology

import (
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

// mainTable is RT_TABLE_MAIN (include/uapi/linux/rtnetlink.h).
const mainTable = 254

// saysForward is what the file itself says of a node's forwarding, as a
// sysctl: "1", "0", or "" if it leaves that to the role.
func saysForward(spec *NodeSpec, v6 bool) string {
	key := "net.ipv4.ip_forward"
	if v6 {
		key = "net.ipv6.conf.all.forwarding"
	}
	for _, e := range spec.Sysctls {
		if e.Key == key && e.Value != inherit {
			if e.Value == "0" {
				return "0"
			}
			return "1"
		}
	}
	return ""
}

// forwards tells whether a node passes on packets that are not its own.
func (p *planner) forwards(n *node, v6 bool) bool {
	if said := saysForward(n.spec, v6); said != "" {
		return said == "1"
	}
	if n.Role != Router && n.Role != Director {
		return false
	}
	return on(n.spec.Defaults.Forward) && (n.Role == Router || needsForwarding(n))
}

// needsForwarding tells whether a director must forward: NAT rewrites and
// routes; TUN and DR send by themselves, but a router of TUN's ICMP errors it
// is. A director that carries DR services only stays a host.
func needsForwarding(n *node) bool {
	if len(n.carries) == 0 {
		return true
	}
	for _, s := range n.carries {
		for _, d := range s.dests {
			if d.Forward != lb.DR {
				return true
			}
		}
	}
	return false
}

// nextHop is the first hop of a shortest way to a node that satisfies there,
// over forwarding nodes; routers are preferred to directors. final counts as
// passable although it may not forward, for packets to it end there. The zero
// Addr means that there is no way.
func (p *planner) nextHop(from *node, v6 bool, there func(*node) bool, final *node, avoid map[*node]bool) netip.Addr {
	for _, s := range p.reachable(from, v6, final, avoid) {
		if there(s.at) {
			return s.first
		}
	}
	return netip.Addr{}
}

// step is a node that can be reached, and the first hop there.
type step struct {
	at    *node
	first netip.Addr
}

// reach is what the reachable nodes depend on.
type reach struct {
	from, final *node
	v6          bool
}

// reachable are the passable nodes that a node can send to, the nearest first.
func (p *planner) reachable(from *node, v6 bool, final *node, avoid map[*node]bool) []step {
	key := reach{from, final, v6}
	if got, ok := p.reached[key]; ok && len(avoid) == 0 {
		return got
	}
	seen := map[*node]bool{from: true}
	queue := p.visit(nil, step{at: from}, seen, key, avoid)
	for i := 0; i < len(queue); i++ {
		if p.forwards(queue[i].at, v6) {
			queue = p.visit(queue, queue[i], seen, key, avoid)
		}
	}
	if len(avoid) == 0 {
		if p.reached == nil {
			p.reached = map[reach][]step{}
		}
		p.reached[key] = queue
	}
	return queue
}

// visit appends a node's passable neighbours that were not seen yet.
func (p *planner) visit(queue []step, at step, seen map[*node]bool, to reach, avoid map[*node]bool) []step {
	for _, routers := range []bool{true, false} {
		for _, m := range p.passers() {
			if seen[m] || avoid[m] || (m.Role == Router) != routers || m != to.final && !p.forwards(m, to.v6) {
				continue
			}
			hop := sharedAddress(at.at.Node, m.Node, to.v6)
			if !hop.IsValid() {
				continue
			}
			if at.first.IsValid() {
				hop = at.first
			}
			seen[m] = true
			queue = append(queue, step{m, hop})
		}
	}
	return queue
}

// passers are the nodes that may be on a way: routers, directors, and whoever
// the file lets forward.
func (p *planner) passers() []*node {
	if p.passing == nil {
		p.passing = []*node{}
		for _, n := range p.nodes {
			if n.Role == Router || n.Role == Director || p.forwards(n, false) || p.forwards(n, true) {
				p.passing = append(p.passing, n)
			}
		}
	}
	return p.passing
}

// clients are the nodes with role client.
func (p *planner) clients() []*node {
	if p.client == nil {
		p.client = []*node{}
		for _, n := range p.nodes {
			if n.Role == Client {
				p.client = append(p.client, n)
			}
		}
	}
	return p.client
}

// clientSamples are clients of which one stands for all those on its network:
// enough to look for ways.
func (p *planner) clientSamples() []*node {
	if p.sample != nil {
		return p.sample
	}
	p.sample = []*node{}
	seen := map[string]bool{}
	for _, c := range p.clients() {
		fresh := len(c.Routes)+len(c.Rules) > 0 && len(p.sample) < maxForwarders
		for _, itf := range c.Interfaces {
			fresh = fresh || !seen[itf.Network]
			seen[itf.Network] = true
		}
		if fresh {
			p.sample = append(p.sample, c)
		}
	}
	return p.sample
}

// sharedAddress is the address of b on a network that a is on, too: not a VIP,
// if there is another.
func sharedAddress(a, b *Node, v6 bool) netip.Addr {
	var found netip.Addr
	for _, mine := range a.Interfaces {
		if mine.Network == "" || mine.Down {
			continue
		}
		for _, its := range b.Interfaces {
			if its.Network != mine.Network || its.Down {
				continue
			}
			for _, addr := range its.Addresses {
				if addr.Prefix.Addr().Is6() != v6 || onLink(a, addr.Prefix.Addr()) == nil {
					continue
				}
				if !addr.VIP {
					return addr.Prefix.Addr()
				}
				found = addr.Prefix.Addr()
			}
		}
	}
	return found
}

// hop is what a node's main table says of a destination.
type hop struct {
	ok    bool
	local bool
	via   netip.Addr // the zero Addr: on the link
	dev   string
}

// way looks a destination up in the node's addresses and its main table, by
// the longest prefix.
func (p *planner) way(n *node, dst netip.Addr) hop {
	if hasAddress(n.Node, dst) {
		return hop{ok: true, local: true}
	}
	best, length, metric := hop{}, -1, 0
	for _, itf := range n.Interfaces {
		for _, a := range itf.Addresses {
			if m := a.Prefix.Masked(); m.Contains(dst) && m.Bits() > length {
				best, length, metric = hop{ok: true, dev: itf.Name}, m.Bits(), 0
			}
		}
	}
	for _, r := range n.Routes {
		if !r.To.Contains(dst) || r.Table != 0 && r.Table != mainTable {
			continue
		}
		if r.To.Bits() > length || r.To.Bits() == length && r.Metric < metric {
			best = hop{ok: r.Type == "" || r.Type == "local", local: r.Type == "local", via: r.Via, dev: r.Device}
			length, metric = r.To.Bits(), r.Metric
		}
	}
	return best
}

// maxHops bounds a trace; a longer way is a loop.
const maxHops = 16

// trace follows a packet from a node to an address and gives the nodes it
// passes, the last one included. ok is false if it gets lost.
func (p *planner) trace(from *node, dst netip.Addr) (path []*node, ok bool) {
	at := from
	for range maxHops {
		if len(at.Rules) > 0 {
			return path, true // policy routing: the lab must show it
		}
		h := p.way(at, dst)
		if !h.ok {
			return path, false
		}
		if h.local {
			return path, true
		}
		next := dst
		if h.via.IsValid() {
			next = h.via
		}
		m := p.owners[next]
		if m == nil || m == at {
			return path, false
		}
		path = append(path, m)
		if next == dst {
			return path, true
		}
		if !p.forwards(m, dst.Is6()) {
			return path, hasAddress(m.Node, dst)
		}
		at = m
	}
	return path, false
}
