package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// groupNamed finds a failover group.
func (p *planner) groupNamed(name string) *group {
	for _, g := range p.failover {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// groupsOf are the groups that a director is in.
func (p *planner) groupsOf(n *node) []*group {
	var out []*group
	for _, g := range p.failover {
		if g.has(n) {
			out = append(out, g)
		}
	}
	return out
}

// floatVIPs gives each service that all the directors of a group carry to that
// group: its VIPs are then on no director all the time.
func (p *planner) floatVIPs() {
	for _, s := range p.services {
		if s.group == nil {
			s.group = p.carriedBy(s)
		}
		g := s.group
		if g == nil || p.broken(s.path) || p.broken(g.path) {
			continue
		}
		g.Services = append(g.Services, s.Name)
		for _, vip := range s.vips {
			network := p.networkOf(vip)
			if network == "" {
				p.errorf(s.path, "take one of a network's, on which VRRP can be spoken", "the VIP %s floats with group %q and is on no network", vip, g.Name)
				continue
			}
			why := fmt.Sprintf("group %s: carries service %s", g.Name, s.Name)
			p.float(g, s.path, network, FloatingAddress{Addr: vip, VIP: true, Origin: Origin(why)})
		}
	}
	for _, g := range p.failover {
		if len(g.Routers) == 0 && !p.broken(g.path) && p.problems.Err() == nil {
			p.errorf(g.path, "say addresses: {NETWORK: ADDRESS}, or let its directors carry a service", "nothing floats in this group")
		}
		p.sortRouters(g)
		p.resolveSync(g)
	}
	p.checkOneSync()
}

// sortRouters brings a group's virtual routers into the networks' order.
func (p *planner) sortRouters(g *group) {
	order := func(r VirtualRouter) int {
		return slices.IndexFunc(p.plan.Networks, func(n Network) bool { return n.Name == r.Network })
	}
	slices.SortStableFunc(g.Routers, func(a, b VirtualRouter) int {
		return cmp.Or(order(a)-order(b), int(a.Family)-int(b.Family))
	})
}

// carriedBy is the group all of whose directors carry the service, or nil.
func (p *planner) carriedBy(s *service) *group {
	for _, g := range p.failover {
		all := len(g.members) > 0
		for _, n := range g.members {
			all = all && slices.Contains(s.directors, n)
		}
		if all {
			return g
		}
	}
	return nil
}

func (p *planner) networkOf(a netip.Addr) string {
	for _, n := range p.plan.Networks {
		if slices.ContainsFunc(n.Prefixes, func(x netip.Prefix) bool { return x.Contains(a) }) {
			return n.Name
		}
	}
	return ""
}

// resolveSync completes the group's connection synchronisation.
func (p *planner) resolveSync(g *group) {
	sp := g.spec.Sync
	if sp == nil || sp.Mode == "none" || len(g.Routers) == 0 || p.broken(g.path) {
		return
	}
	path := g.path + ".sync"
	network := cmp.Or(sp.Network, g.Routers[len(g.Routers)-1].Network)
	if p.nets[network] == nil {
		p.errorf(path+".network", p.choices(network, p.t.Networks.Keys()), "there is no network %q", network)
		return
	}
	if t, period := sp.thresholds(); period != 0 && t >= period {
		p.errorf(path, "the kernel wants period: 0, or a threshold below the period", "threshold %d with period %d", t, period)
	}
	s := &Sync{Mode: SyncMode(cmp.Or(sp.Mode, SyncName(SyncFollow))), ID: uint8(cmp.Or(sp.ID, int(g.id))), Network: network}
	for _, n := range g.members {
		i := slices.IndexFunc(n.Interfaces, func(itf Interface) bool { return itf.Network == network })
		if i < 0 {
			p.errorf(path, "choose a network that all its directors are on", "director %q is not on network %q", n.Name, network)
			return
		}
		s.Interfaces = append(s.Interfaces, n.Interfaces[i].Name)
	}
	for _, d := range p.services {
		for _, dest := range d.dests {
			if d.group == g && dest.Addr.Is6() != (d.Spec.Family == 6) {
				p.errorf(path, "leave sync out: the kernel refuses the one with the other",
					"synchronisation, and service %q has a real server of the other family", d.Name)
			}
		}
	}
	g.Sync = s
}

// The kernel's defaults (include/net/ip_vs.h: DEFAULT_SYNC_THRESHOLD, DEFAULT_SYNC_PERIOD).
const (
	defaultSyncThreshold = 3
	defaultSyncPeriod    = 50
)

// thresholds are the two numbers of net.ipv4.vs.sync_threshold.
func (s *SyncSpec) thresholds() (threshold, period int) {
	threshold, period = defaultSyncThreshold, defaultSyncPeriod
	if s.Threshold != nil {
		threshold = *s.Threshold
	}
	if s.Period != nil {
		period = *s.Period
	}
	return threshold, period
}

// checkOneSync: a network namespace has one master and one backup daemon
// (struct netns_ipvs, include/net/ip_vs.h).
func (p *planner) checkOneSync() {
	taken := map[*node]string{}
	for _, g := range p.failover {
		if g.Sync == nil {
			continue
		}
		for _, n := range g.members {
			if other, twice := taken[n]; twice {
				p.errorf(g.path+".sync", "keep it in one of the groups: a director has one pair of sync daemons",
					"director %q synchronises with group %q already", n.Name, other)
			}
			taken[n] = g.Name
		}
	}
}

// has tells whether an address is a node's: one of its own, or one that floats
// and that it has as long as nothing fails.
func (p *planner) has(n *node, a netip.Addr) bool {
	g := p.floating[a]
	return hasAddress(n.Node, a) || g != nil && len(g.members) > 0 && g.members[0] == n
}

// gateway is the address that floats in the group for routing, on a network
// that the node is on; the zero Addr if there is none.
func (g *group) gateway(n *node, v6 bool) netip.Addr {
	if g == nil || g.has(n) {
		return netip.Addr{}
	}
	for _, r := range g.Routers {
		for _, a := range r.Addresses {
			if !a.VIP && a.Addr.Is6() == v6 && onLink(n.Node, a.Addr) != nil {
				return a.Addr
			}
		}
	}
	return netip.Addr{}
}

// hopTo is the address of b to route to from a: one that floats if b is a
// director that may be taken over, so that the route outlives it.
func (p *planner) hopTo(a, b *node, v6 bool) netip.Addr {
	own := sharedAddress(a.Node, b.Node, v6)
	if !own.IsValid() || len(p.failover) == 0 {
		return own
	}
	for _, g := range p.groupsOf(b) {
		if gw := g.gateway(a, v6); gw.IsValid() {
			return gw
		}
	}
	return own
}

// lintGateway finds a real server's way back that ends with the director that dies.
func (p *planner) lintGateway(d *destination, path []*node, a netip.Addr) {
	g := d.svc.group
	if g == nil {
		return
	}
	at := d.node
	for _, next := range path {
		h := p.way(at, a)
		if g.has(next) {
			if h.via.IsValid() && p.floating[h.via] != g {
				p.warn(GatewayNotMoved, d.path, "route through an address that floats: failover."+g.Name+".addresses",
					"the answers of %q go by %s's gateway %s, which stays with director %q when another takes over", d.node.Name, at.Name, h.via, next.Name)
			}
			return
		}
		at = next
	}
}
