package topology

import (
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

// fillRoutes gives every role the routes it needs, after those of the file,
// which win: a way that a node has already is never added again.
func (p *planner) fillRoutes() {
	p.indexOwners()
	for _, n := range p.nodes {
		switch {
		case n.Role == RealServer && on(n.spec.Defaults.ReturnRoute):
			p.routeBack(n)
		case n.Role == Client && on(n.spec.Defaults.Routes):
			p.routeToVIPs(n)
		case (n.Role == Director || n.Role == Router) && on(n.spec.Defaults.Routes):
			p.routeToNetworks(n)
		}
	}
}

// indexOwners maps each address on a network, and each VIP, to the node that
// answers for it there.
func (p *planner) indexOwners() {
	p.owners = map[netip.Addr]*node{}
	for _, n := range p.nodes {
		for _, itf := range n.Interfaces {
			for _, a := range itf.Addresses {
				if itf.Kind == VethIface && p.owners[a.Prefix.Addr()] == nil {
					p.owners[a.Prefix.Addr()] = n
				}
			}
		}
	}
	for a, g := range p.floating {
		p.owners[a] = g.members[0]
	}
	for _, s := range p.services {
		for _, vip := range s.vips {
			if p.owners[vip] == nil && len(s.directors) > 0 {
				p.owners[vip] = s.directors[0]
			}
		}
	}
}

// routeBack is the real server's way back to the clients: for NAT the default
// route through the director, else each client's network by any router.
func (p *planner) routeBack(n *node) {
	for _, d := range n.serves {
		if d.Forward != lb.NAT || len(d.svc.directors) == 0 || d.svc.directors[0] == n {
			continue
		}
		dir := d.svc.directors[0]
		to := defaultRoute(d.Addr.Is6())
		if hasRoute(n.Node, to) {
			continue
		}
		if via := d.svc.group.gateway(n, d.Addr.Is6()); via.IsValid() {
			p.addRoute(n, to, via, fmt.Sprintf("role realserver: nat answers for service %s return through the floating gateway of group %s", d.svc.Name, d.svc.group.Name))
			continue
		}
		via := p.nextHop(n, d.Addr.Is6(), func(m *node) bool { return m == dir }, dir, nil)
		p.addRoute(n, to, via, fmt.Sprintf("role realserver: nat answers for service %s return through %s", d.svc.Name, dir.Name))
	}
	for _, d := range n.serves {
		if d.Forward == lb.NAT {
			continue
		}
		for _, vip := range d.svc.vips {
			p.routeToClients(n, d, vip.Is6())
		}
	}
}

// routeToClients routes straight back to the clients of a DR or TUN service,
// not through a director: it would drop packets that come from its own VIP.
func (p *planner) routeToClients(n *node, d *destination, v6 bool) {
	avoid := map[*node]bool{}
	for _, dir := range d.svc.directors {
		avoid[dir] = true
	}
	for _, c := range p.clientSamples() {
		if c == n {
			continue
		}
		for _, itf := range c.Interfaces {
			p.routeToNetwork(n, itf.Network, v6, avoid, "role realserver: answers for service "+d.svc.Name+" go straight to the clients")
		}
	}
}

// routeToVIPs leads a client to the VIPs that are on none of its networks.
func (p *planner) routeToVIPs(n *node) {
	for _, s := range p.services {
		for _, vip := range s.vips {
			if p.way(n, vip).ok || !hasFamily(n.Node, vip.Is6()) || len(s.directors) == 0 {
				continue
			}
			dir := s.directors[0]
			why := "role client: the way to service " + s.Name
			to := netip.PrefixFrom(vip, vip.BitLen())
			if itf := onLink(dir.Node, vip); itf != nil && itf.Network != "" {
				p.routeToNetwork(n, itf.Network, vip.Is6(), nil, why)
				continue
			}
			p.addRoute(n, to, p.nextHop(n, vip.Is6(), func(m *node) bool { return m == dir }, dir, nil), why)
		}
	}
}

// routeToNetworks leads directors and routers to every network of the lab, and
// to VIPs that are on none.
func (p *planner) routeToNetworks(n *node) {
	for _, net := range p.plan.Networks {
		for _, v6 := range []bool{false, true} {
			p.routeToNetwork(n, net.Name, v6, nil, fmt.Sprintf("role %s: the way to network %s", n.Role, net.Name))
		}
	}
	p.routeRouterToVIPs(n)
}

func (p *planner) routeRouterToVIPs(n *node) {
	if n.Role != Router {
		return
	}
	for _, s := range p.services {
		for _, vip := range s.vips {
			if dir := p.owners[vip]; dir != nil && !p.way(n, vip).ok {
				via := p.nextHop(n, vip.Is6(), func(m *node) bool { return m == dir }, dir, nil)
				p.addRoute(n, netip.PrefixFrom(vip, vip.BitLen()), via, "role router: the way to service "+s.Name)
			}
		}
	}
}

// routeToNetwork adds routes to a network's prefixes of a family, if the node
// has no way there and there is one.
func (p *planner) routeToNetwork(n *node, name string, v6 bool, avoid map[*node]bool, why string) {
	net := p.nets[name]
	if net == nil || !hasFamily(n.Node, v6) {
		return
	}
	for _, prefix := range net.Prefixes {
		if prefix.Addr().Is6() != v6 || p.way(n, prefix.Addr().Next()).ok {
			continue
		}
		there := func(m *node) bool { return onNetwork(m.Node, name) }
		p.addRoute(n, prefix, p.nextHop(n, v6, there, nil, avoid), why)
	}
}

func (p *planner) addRoute(n *node, to netip.Prefix, via netip.Addr, why string) {
	if via.IsValid() {
		n.Routes = append(n.Routes, Route{To: to, Via: via, Origin: Origin(why)})
	}
}

func hasRoute(n *Node, to netip.Prefix) bool {
	for _, r := range n.Routes {
		if r.To == to && (r.Table == 0 || r.Table == mainTable) {
			return true
		}
	}
	return false
}

func onNetwork(n *Node, name string) bool {
	for _, itf := range n.Interfaces {
		if itf.Network == name && name != "" {
			return true
		}
	}
	return false
}

func hasFamily(n *Node, v6 bool) bool {
	for _, itf := range n.Interfaces {
		for _, a := range itf.Addresses {
			if a.Prefix.Addr().Is6() == v6 {
				return true
			}
		}
	}
	return false
}
