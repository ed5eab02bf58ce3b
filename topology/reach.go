package topology

import (
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

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
		if s.sorry != nil && s.sorry.Forward != lb.DR {
			return true
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
			hop := p.hopTo(at.at, m, to.v6)
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
