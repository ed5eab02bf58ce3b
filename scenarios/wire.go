package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// wire follows a connection to each real server at every hop.
func (s *service) wire(ctx context.Context) {
	r := s.begin(ctx, false)
	set := s.st.capture(ctx)
	seen := map[int]traffic.Connection{}
	for n := 0; n < s.visits() && len(seen) < s.usable(); n++ {
		r.open(ctx, 1)
		c := r.conns[len(r.conns)-1]
		if c.Outcome != traffic.Answered && c.Outcome != traffic.Refused {
			r.unanswered(set, c)
		}
		if i := r.destination(c); i >= 0 {
			if _, ok := seen[i]; !ok {
				seen[i] = c
			}
		}
	}
	if len(seen) == 0 && r.refusedAsPlanned() {
		return
	}
	if len(seen) == 0 {
		ginkgo.Fail(fmt.Sprintf("none of %d connections to %s came to a real server of %s", len(r.conns), s.to, s.Name))
	}
	for i := range s.Spec.Destinations {
		if c, ok := seen[i]; ok {
			s.follow(set, i, c)
		}
	}
}

// unanswered fails at the hop behind which nothing was seen of the connection.
func (r *round) unanswered(set capture.Set, c traffic.Connection) {
	ginkgo.GinkgoHelper()
	if i := r.destination(c); i >= 0 {
		r.follow(set, i, c)
	}
	f := flow{client: c.Source, set: set}
	ginkgo.Fail(fmt.Sprintf("connection %d from %s to %s came to nothing: %s%s; captured of it were:%s",
		c.Index+1, c.Source, r.to, fateOf(c), r.sentOn(c), excerpt(f.mine())))
}

// excerpt shows how a connection began and how it ended.
func excerpt(packets []capture.Packet) string {
	const first, last = 8, 16
	var b strings.Builder
	for i, p := range packets {
		if left := len(packets) - first - last; i == first && left > 0 {
			fmt.Fprintf(&b, "\n    ... %d more ...", left)
		}
		if i < first || i >= len(packets)-last {
			b.WriteString("\n    " + p.String())
		}
	}
	return b.String()
}

func (s *service) usable() (n int) {
	for _, d := range s.Spec.Destinations {
		if d.Weight > 0 {
			n++
		}
	}
	return n
}

// destination is the index of the one that got the connection, by the
// director's entry, or, without one, by the answer; -1: none.
func (r *round) destination(c traffic.Connection) int {
	if e, ok := r.entries[c.Source]; ok {
		return r.index(e.Real)
	}
	if c.Outcome != traffic.Answered {
		return -1
	}
	return slices.Index(r.names, c.Identity)
}

// flow is a connection on its way.
type flow struct {
	client, virtual, real netip.AddrPort
	from, director, to    string // nodes
	protocol              lb.Protocol
	set                   capture.Set
}

func (s *service) follow(set capture.Set, i int, c traffic.Connection) {
	d := s.Spec.Destinations[i]
	f := flow{
		client: c.Source, virtual: s.to, real: addrPort(d.Addr, int(s.realPort(i, s.to.Port()))),
		from: s.from, director: s.director, to: s.RealServers[i], protocol: s.transport(), set: set,
	}
	f.see(f.from, capture.Out, f.client, f.virtual, "the client to ask for the VIP")
	f.see(f.director, capture.In, f.client, f.virtual, "the director to be asked for the VIP")
	switch {
	case f.to == f.director:
		ginkgo.By("the director itself is the real server " + s.label(i))
		f.see(f.director, capture.Out, f.virtual, f.client, "the director to answer as the VIP")
	case d.Forward == lb.NAT:
		ginkgo.By("following NAT's two rewrites to " + s.label(i))
		f.nat()
	case d.Forward == lb.DR:
		ginkgo.By("following direct routing to " + s.label(i))
		f.direct(s.st.plannedNode(f.to))
		f.straightBack(s, i)
	case d.Forward == lb.TUN:
		ginkgo.By("following the tunnel to " + s.label(i))
		f.tunnel(d)
		f.straightBack(s, i)
	}
	f.see(f.from, capture.In, f.virtual, f.client, "the client to be answered by the VIP")
}

// is matches a plain packet of the connection.
func (f *flow) is(node string, way capture.Direction, src, dst netip.AddrPort) func(capture.Packet) bool {
	return func(p capture.Packet) bool {
		return p.Node == node && p.Direction == way && p.Encap == "" && lb.Protocol(p.Protocol) == f.protocol &&
			p.Source() == src && p.Destination() == dst
	}
}

// mine are the packets of this connection, or that carry it: what a failure shows.
func (f *flow) mine() []capture.Packet {
	return f.set.Find(func(p capture.Packet) bool {
		h := p.Innermost()
		return h.Source() == f.client || h.Destination() == f.client || p.Quoted.Source() == f.client || p.Quoted.Destination() == f.client
	})
}

// see expects a packet, and gives the first.
func (f *flow) see(node string, way capture.Direction, src, dst netip.AddrPort, what string) capture.Packet {
	ginkgo.GinkgoHelper()
	want := f.is(node, way, src, dst)
	gomega.Expect(f.mine()).To(assertions.HavePacket(fmt.Sprintf("%s (%s > %s, %s %s)%s", what, src, dst, node, way, f.farthest(src, dst)), want))
	return f.set.Find(want)[0]
}

// farthest says at which hop such packets were seen last.
func (f *flow) farthest(src, dst netip.AddrPort) string {
	var hops []string
	for _, p := range f.mine() {
		if hop := fmt.Sprintf("%s:%s %s", p.Node, p.Interface, p.Direction); p.Innermost().Source() == src && p.Innermost().Destination() == dst && !slices.Contains(hops, hop) {
			hops = append(hops, hop)
		}
	}
	if hops == nil {
		return ", which was seen nowhere"
	}
	return ", which came as far as " + hops[len(hops)-1]
}

func (f *flow) miss(node string, way capture.Direction, src, dst netip.AddrPort, what string) {
	ginkgo.GinkgoHelper()
	gomega.Expect(f.mine()).NotTo(assertions.HavePacket(fmt.Sprintf("%s (%s > %s, %s %s)", what, src, dst, node, way), f.is(node, way, src, dst)))
}

// nat: the destination is rewritten on the way there, the source on the way
// back; each side sees one of the two addresses only (ip_vs_xmit.c,
// ip_vs_nat_xmit; ip_vs_core.c, handle_response).
func (f *flow) nat() {
	f.see(f.director, capture.Out, f.client, f.real, "the director to have put the real server's address for the VIP")
	f.see(f.to, capture.In, f.client, f.real, "the real server to be asked, with the client's own address as source")
	f.see(f.to, capture.Out, f.real, f.client, "the real server to answer")
	f.see(f.director, capture.In, f.real, f.client, "the answer to come back through the director")
	f.see(f.director, capture.Out, f.virtual, f.client, "the director to have put the VIP back as source")
	if f.real != f.virtual {
		f.miss(f.from, capture.In, f.real, f.client, "an answer that shows the client the real server's address")
		f.miss(f.to, capture.In, f.client, f.virtual, "a request that shows the real server the VIP")
	}
}

// direct: the frame gets the real server's MAC, the packet stays as it is
// (ip_vs_xmit.c, ip_vs_dr_xmit).
func (f *flow) direct(server *topology.Node) {
	in := f.set.Find(f.is(f.director, capture.In, f.client, f.virtual))[0]
	out := f.see(f.director, capture.Out, f.client, f.virtual, "the director to pass the packet on")
	f.see(f.to, capture.In, f.client, f.virtual, "the real server to be asked for the VIP")
	gomega.Expect(macsOf(server)).To(gomega.ContainElement(out.DstMAC.String()), "the frame must go to an interface of %s: %s", f.to, out)
	gomega.Expect(out.DstMAC).NotTo(gomega.Equal(in.DstMAC), "direct routing changes the frame's destination")
	gomega.Expect(samePacket(in.Header, out.Header)).To(gomega.BeTrue(), "direct routing leaves the IP packet as it is:\n in  %s\n out %s", in, out)
	f.see(f.to, capture.Out, f.virtual, f.client, "the real server to answer as the VIP")
}

func macsOf(n *topology.Node) []string {
	var out []string
	for _, i := range n.Interfaces {
		out = append(out, i.MAC)
	}
	return out
}

// samePacket compares what a router leaves alone: all but the TTL.
func samePacket(a, b capture.Header) bool {
	a.TTL, b.TTL = 0, 0
	return a == b
}

var encapsulations = map[lb.TunnelType]capture.Encapsulation{lb.IPIP: capture.IPIP, lb.GUE: capture.GUE, lb.GRE: capture.GRE}

// tunnel: the packet travels whole inside another one (ip_vs_xmit.c, ip_vs_tunnel_xmit).
func (f *flow) tunnel(d lb.Destination) {
	ginkgo.GinkgoHelper()
	in := f.set.Find(f.is(f.director, capture.In, f.client, f.virtual))[0]
	wrapped := func(node string, way capture.Direction) func(capture.Packet) bool {
		return func(p capture.Packet) bool {
			return p.Node == node && p.Direction == way && p.Encap == encapsulations[d.Tunnel.Type] && p.Dst == d.Addr &&
				p.Inner.Source() == f.client && p.Inner.Destination() == f.virtual
		}
	}
	what := fmt.Sprintf("%s > %s inside of %s to %s", f.client, f.virtual, encapsulations[d.Tunnel.Type], d.Addr)
	gomega.Expect(f.mine()).To(assertions.HavePacket(what+", leaving the director", wrapped(f.director, capture.Out)))
	gomega.Expect(f.mine()).To(assertions.HavePacket(what+", arriving at "+f.to, wrapped(f.to, capture.In)))
	out := f.set.Find(wrapped(f.director, capture.Out))[0]
	gomega.Expect(samePacket(in.Header, out.Inner)).To(gomega.BeTrue(), "the tunnel leaves the inner packet as it is:\n in  %s\n out %s", in, out)
	f.see(f.to, capture.Out, f.virtual, f.client, "the real server to answer as the VIP, outside of any tunnel")
}

// straightBack: unless the director happens to be the way to the client, it
// must not see the answer.
func (f *flow) straightBack(s *service, i int) {
	ginkgo.GinkgoHelper()
	if s.answersPass(i, f.client.Addr()) {
		note("%s reaches the client through the director, so its answers do pass there", f.to)
		return
	}
	f.miss(f.director, capture.In, f.virtual, f.client, "an answer that passes the director")
}

// answersPass tells whether a real server's answers come through the director:
// NAT's must, its own do, others only if it is the way to the client.
func (s *service) answersPass(i int, client netip.Addr) bool {
	ginkgo.GinkgoHelper()
	if s.Spec.Destinations[i].Forward == lb.NAT || s.RealServers[i] == s.director {
		return true
	}
	route, err := s.st.node(s.RealServers[i]).RouteTo(client)
	must(err)
	return route.Via.IsValid() && slices.Contains(addrsOf(s.st.plannedNode(s.director)), route.Via)
}

func addrPort(a netip.Addr, port int) netip.AddrPort { return netip.AddrPortFrom(a, uint16(port)) }
