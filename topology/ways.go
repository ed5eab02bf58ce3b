package topology

import (
	"net/netip"
)

// mainTable is RT_TABLE_MAIN (include/uapi/linux/rtnetlink.h).
const mainTable = 254

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
	if p.has(n, dst) {
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
			return path, p.has(m, dst)
		}
		at = m
	}
	return path, false
}
