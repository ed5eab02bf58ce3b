package topology

import (
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// fillResponders gives every real server a built-in server on each real port,
// unless the file says what it runs.
func (p *planner) fillResponders() {
	for _, n := range p.nodes {
		if n.spec.Serve != nil || len(n.spec.Run) > 0 || !on(n.spec.Defaults.Serve) || n.Role == NoRole {
			continue
		}
		for _, d := range n.serves {
			for _, port := range d.ports() {
				p.addResponder(n, d, port)
			}
		}
	}
}

// portRange is what a real server must serve for a service.
type portRange struct {
	proto lb.Protocol
	PortRange
	vip netip.Addr
}

// ports are the real ports of a destination: its own, or those of the marks.
// None is known for a service of every port.
func (d *destination) ports() []portRange {
	var out []portRange
	if d.svc.Spec.FWMark == 0 {
		if d.Port != 0 {
			out = append(out, portRange{d.svc.Spec.Protocol, PortRange{d.Port, d.Port}, d.svc.Spec.Addr})
		}
		return out
	}
	for _, m := range d.svc.Marks {
		r := PortRange{m.First, m.Last}
		if d.Port != 0 {
			r = PortRange{d.Port, d.Port}
		}
		out = append(out, portRange{m.Protocol, r, m.Addr})
	}
	return out
}

func (p *planner) addResponder(n *node, d *destination, r portRange) {
	why := Origin("role realserver: serves " + d.svc.Name)
	if int(r.Last)-int(r.First) >= maxPorts {
		p.report(ServerDown, Warning, d.path, "say serve: with the ports that matter",
			"%d ports are too many for built-in servers: only the first %d are served", int(r.Last)-int(r.First)+1, maxPorts)
		r.Last = r.First + maxPorts - 1
	}
	for port := int(r.First); port <= int(r.Last); port++ {
		resp := Responder{Protocol: "http", Port: uint16(port), Identity: n.Name, Origin: why}
		if r.proto == lb.UDP || r.proto == lb.SCTP {
			resp.Protocol = r.proto.String()
			resp.Addrs = boundTo(n.Node, d, r)
		}
		addUnlessServed(n.Node, resp)
	}
}

// boundTo is the address that a server has to be bound to: a UDP server at the
// VIP would answer from its own address else, and an SCTP server would tell the
// client of all the node's addresses, by which it could go past the director.
func boundTo(n *Node, d *destination, r portRange) []netip.Addr {
	at := r.vip
	if d.Forward == lb.NAT {
		at = d.Addr
	}
	if d.Forward == lb.NAT && r.proto == lb.UDP || !hasAddress(n, at) {
		return nil
	}
	return []netip.Addr{at}
}

// addUnlessServed adds a server unless one is there that takes its packets; a
// server on single addresses gains those it lacks.
func addUnlessServed(n *Node, r Responder) {
	for i := range n.Responders {
		have := &n.Responders[i]
		if have.Protocol != r.Protocol || have.Port != r.Port {
			continue
		}
		if len(have.Addrs) == 0 || len(r.Addrs) == 0 {
			have.Addrs = nil
			return
		}
		for _, a := range r.Addrs {
			if !slices.Contains(have.Addrs, a) {
				have.Addrs = append(have.Addrs, a)
			}
		}
		return
	}
	n.Responders = append(n.Responders, r)
}
