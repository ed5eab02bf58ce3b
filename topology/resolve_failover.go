package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

const (
	defaultInterval = time.Second // RFC 9568, section 6.1: 100 centiseconds
	centisecond     = 10 * time.Millisecond
	maxInterval     = 4095 * centisecond // 12 bits, RFC 9568, section 5.2.7
	maxIntervalV2   = 255 * time.Second  // 8 bits, RFC 3768, section 5.3.7
	maxPreemptDelay = 1000 * time.Second // keepalived.conf(5), preempt_delay
	defaultRefresh  = 5 * time.Second
	maxRefresh      = time.Hour
	maxPassword     = 8  // bytes, RFC 2338, section 5.3.10
	firstRouterID   = 51 // the one in keepalived's examples
)

// group is a planned failover group beside what the file says of it.
type group struct {
	*Group
	spec    *FailoverSpec
	path    string
	id      uint8
	members []*node // parallel to Members
}

func (g *group) has(n *node) bool { return slices.Contains(g.members, n) }

// resolveFailover makes the groups, with the addresses that the file floats.
// The services' VIPs come to them with floatVIPs.
func (p *planner) resolveFailover() {
	p.plan.Failover = make([]Group, 0, len(p.t.Failover)) // never grows: p.failover points into it
	p.floating = map[netip.Addr]*group{}
	for i := range p.t.Failover {
		e := &p.t.Failover[i]
		path := join("failover", e.Key)
		if !nodeName.MatchString(e.Key) || len(e.Key) > maxName {
			p.errorf(path, nameRule, "found the group's name %q", e.Key)
		}
		if p.byName[e.Key] != nil || len(p.groups[e.Key]) > 0 {
			p.errorf(path, "rename one of them", "the group %q has the name of a node", e.Key)
		}
		sp := &e.Value
		p.plan.Failover = append(p.plan.Failover, Group{
			Name: e.Key, Version: cmp.Or(sp.Version, 3), Interval: cmp.Or(time.Duration(sp.Interval), defaultInterval),
			Preempt: on(sp.Preempt), PreemptDelay: time.Duration(sp.PreemptDelay), Unicast: sp.Unicast, StartActive: sp.Start == "active",
			Refresh: defaultRefresh,
		})
		g := &group{Group: &p.plan.Failover[i], spec: sp, path: path, id: uint8(cmp.Or(sp.ID, min(firstRouterID+i, 255)))}
		p.failover = append(p.failover, g)
		p.resolveMembers(g)
		p.checkInterval(g)
		p.resolveRefresh(g)
		p.authenticate(g)
		for _, a := range sp.Addresses {
			p.floatGateways(g, a.Key, a.Value)
		}
	}
}

// defaultPriority is that of the i-th in a list of directors.
func defaultPriority(i int) int {
	if i < 3 {
		return 150 - 50*i
	}
	return 50 - 10*(i-2)
}

func (p *planner) resolveMembers(g *group) {
	path := g.path + ".directors"
	if p.broken(path) {
		return
	}
	taken := map[int]string{}
	for _, e := range g.spec.Directors {
		at := join(path, e.Key)
		for _, n := range p.lookup(at, e.Key) {
			priority := e.Value.Priority
			if priority == 0 {
				priority = defaultPriority(len(g.members))
			}
			switch other, twice := taken[priority]; {
			case n.Role != Director && !p.broken(n.path):
				p.errorf(at, "give it role: director", "node %q has the role %s", n.Name, n.Role)
			case priority < 1:
				p.errorf(at, "say their priorities: {NAME: 150, ...}", "too many directors for the priorities that a list gives")
			case twice:
				p.errorf(at, "give each its own: addresses would decide, and differently on each network",
					"%q has the priority %d, and so has %q", n.Name, priority, other)
			}
			taken[priority] = n.Name
			g.members = append(g.members, n)
			g.Members = append(g.Members, GroupMember{Node: n.Name, Priority: uint8(priority)})
		}
	}
	slices.SortStableFunc(g.Members, func(a, b GroupMember) int { return int(b.Priority) - int(a.Priority) })
	slices.SortStableFunc(g.members, func(a, b *node) int { return g.rank(a) - g.rank(b) })
	if len(g.members) < 2 && !p.broken("nodes") && !p.broken(g.path) {
		p.errorf(g.path, "name two directors or more", "a group of %d: nobody can take over", len(g.members))
	}
}

func (g *group) rank(n *node) int {
	return slices.IndexFunc(g.Members, func(m GroupMember) bool { return m.Node == n.Name })
}

// checkInterval holds the timers against what the protocol can say.
func (p *planner) checkInterval(g *group) {
	interval, step, most := g.Interval, centisecond, maxInterval
	if g.Version == 2 {
		step, most = time.Second, maxIntervalV2
	}
	if (interval < step || interval > most || interval%step != 0) && !p.broken(g.path) {
		p.errorf(g.path+".interval", "allowed in version "+itoa(g.Version)+": "+step.String()+" to "+most.String()+" in steps of "+step.String(),
			"found %s", interval)
	}
	if g.PreemptDelay < 0 || g.PreemptDelay > maxPreemptDelay {
		p.errorf(g.path+".preemptDelay", "allowed: 0s to "+maxPreemptDelay.String(), "found %s", g.PreemptDelay)
	}
	if g.PreemptDelay > 0 && !g.Preempt {
		p.errorf(g.path+".preemptDelay", "keep one", "a delay of preemption, and preempt: false")
	}
	if g.StartActive && (g.PreemptDelay > 0 || !g.Preempt) {
		p.errorf(g.path+".start", "take start: backup, or preempt without delay",
			"a director that starts as active takes over whenever it comes back")
	}
}

func (p *planner) resolveRefresh(g *group) {
	if g.spec.Refresh == nil {
		return
	}
	if g.Refresh = time.Duration(*g.spec.Refresh); g.Refresh < 0 || g.Refresh > maxRefresh {
		p.errorf(g.path+".refresh", "allowed: 0s to "+maxRefresh.String(), "found %s", g.Refresh)
	}
}

// authenticate takes the password over, as far as version 2 can carry it.
func (p *planner) authenticate(g *group) {
	sp, path := g.spec.Authentication, g.path+".authentication"
	if sp == nil || p.broken(path) {
		return
	}
	g.Password = sp.Password
	odd := strings.IndexFunc(sp.Password, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(oddInPassword, r) })
	switch {
	case g.Version != 2:
		p.errorf(path, "take version: 2, or leave it out", "VRRP version %d has no authentication", g.Version)
	case sp.Type == "ah":
		p.errorf(path+".type", "take type: pass, or leave authentication out",
			"AH, an IP authentication header: RFC 3768 has removed it from VRRP, and no director here speaks it")
	case sp.Password == "":
		p.errorf(path+".password", "say one, of 1 to 8 bytes", "there is no password")
	case odd >= 0:
		p.errorf(path+".password", "allowed: letters, digits and most signs; not blanks, quotes or "+oddInPassword,
			"a sign that keepalived's configuration files have no way to say, at byte %d", odd+1)
	case len(sp.Password) > maxPassword:
		p.warn(DirectorCannot, path+".password", "take one of 8 bytes", "VRRP carries %d bytes of a password, and this one has %d: the rest does not count", maxPassword, len(sp.Password))
	}
}

// oddInPassword are signs that mean something in keepalived.conf(5).
const oddInPassword = "\"'\\#!$@{}"

// floatGateways puts the addresses that the file says of a network into the group.
func (p *planner) floatGateways(g *group, network string, addrs []netip.Addr) {
	path := join(g.path+".addresses", network)
	net := p.nets[network]
	if net == nil {
		p.errorf(path, p.choices(network, p.t.Networks.Keys()), "there is no network %q", network)
		return
	}
	for i, a := range addrs {
		at := indexed(path, path, i, p)
		if !a.IsValid() || p.broken(at) || p.broken(join("networks", network)) {
			continue
		}
		within := slices.IndexFunc(net.Prefixes, func(x netip.Prefix) bool { return x.Contains(a) })
		switch {
		case within < 0:
			p.report(WrongSubnet, Error, at, "allowed: "+prefixList(net.Prefixes), "%s is in no prefix of network %q", a, network)
		case reservedIn(net.Prefixes[within], a):
			p.errorf(at, "choose an address between", "%s is the first or the last address of %s and can't be a host's", a, net.Prefixes[within])
		default:
			p.float(g, at, network, FloatingAddress{Addr: a})
		}
	}
}

// float puts an address into the virtual router of its network and family,
// which is made when its first address comes.
func (p *planner) float(g *group, path, network string, a FloatingAddress) {
	switch other := p.floating[a.Addr]; {
	case other == g:
		if i := g.find(a.Addr); a.VIP && i != nil {
			i.VIP = true
		}
		return
	case other != nil:
		p.errorf(path, "an address floats in one group", "%s floats in group %q already", a.Addr, other.Name)
		return
	case g.Version == 2 && a.Addr.Is6():
		p.errorf(path, "take version: 3", "VRRP version 2 knows no IPv6, such as %s", a.Addr)
		return
	}
	p.floating[a.Addr] = g
	if p.ownedStatically(path, a.Addr) {
		return
	}
	family := lb.FamilyOf(a.Addr)
	for i := range g.Routers {
		if r := &g.Routers[i]; r.Network == network && r.Family == family {
			r.Addresses = append(r.Addresses, a)
			return
		}
	}
	p.addRouter(g, path, network, family, a)
}

func (g *group) find(a netip.Addr) *FloatingAddress {
	for i := range g.Routers {
		for j := range g.Routers[i].Addresses {
			if found := &g.Routers[i].Addresses[j]; found.Addr == a {
				return found
			}
		}
	}
	return nil
}

// ownedStatically finds a floating address that a node has all the time.
func (p *planner) ownedStatically(path string, a netip.Addr) bool {
	for _, n := range p.nodes {
		for _, itf := range n.Interfaces {
			for _, own := range itf.Addresses {
				if itf.Kind == VethIface && own.Prefix.Addr() == a {
					p.report(DuplicateAddress, Error, path, "choose an address that no node has, or leave it out of the group",
						"%s floats, and %s's %s has it all the time", a, n.Name, itf.Name)
					return true
				}
			}
		}
	}
	return false
}

func (p *planner) addRouter(g *group, path, network string, family lb.Family, a FloatingAddress) {
	r := VirtualRouter{ID: g.id, Network: network, Family: family, Addresses: []FloatingAddress{a}}
	for _, n := range g.members {
		end := routerEnd(n.Node, network, family)
		if end.Interface == "" && !p.broken(n.path) {
			p.errorf(path, "give it an address there, or float another", "director %q has no IPv%d address on network %q, where %s floats",
				n.Name, family, network, a.Addr)
		}
		r.Ends = append(r.Ends, end)
	}
	for _, other := range p.failover {
		for _, have := range other.Routers {
			if other != g && have.ID == r.ID && have.Network == network && have.Family == family {
				p.errorf(g.path, "say id: N, another", "the id %d is group %q's on network %q already", r.ID, other.Name, network)
			}
		}
	}
	g.Routers = append(g.Routers, r)
}

// routerEnd is a node's interface and address on a network.
func routerEnd(n *Node, network string, family lb.Family) RouterEnd {
	for _, itf := range n.Interfaces {
		if itf.Network != network || itf.Kind != VethIface {
			continue
		}
		for _, a := range itf.Addresses {
			if lb.FamilyOf(a.Prefix.Addr()) == family && !a.VIP {
				return RouterEnd{Interface: itf.Name, Addr: a.Prefix.Addr()}
			}
		}
	}
	return RouterEnd{}
}
