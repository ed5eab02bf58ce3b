package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

const (
	largeRequest = 6000  // bytes: several packets, whatever the MTU
	largeAnswer  = 20000 // bytes
	mostLarge    = 8     // visits
)

// large sends requests and answers that fill packets to the MTU. Where a
// tunnel's outer header leaves less room, the client has to be told so
// ("fragmentation needed", RFC 1191; "packet too big", RFC 8201).
func (s *service) large(ctx context.Context) {
	r := &round{service: s, model: s.modelIfAny(s.reset(ctx))}
	set := s.st.capture(ctx)
	n := min(s.visits(), mostLarge)
	ginkgo.By(fmt.Sprintf("%d requests of %d bytes for answers of %d bytes, from %s to %s", n, largeRequest, largeAnswer, s.from, s.to))
	session := s.st.session(s.from, traffic.Spec{
		Protocol: s.protocol, To: s.to, Timeout: s.st.visitTimeout(),
		Path: fmt.Sprintf("/bytes?n=%d&of=%s", largeAnswer, strings.Repeat("x", largeRequest)),
	})
	for range n {
		conns, err := session.Open(ctx, 1)
		must(err)
		c := conns[0]
		if c.Outcome == traffic.Answered || c.Outcome == traffic.Refused { // by thresholds
			continue
		}
		f := flow{client: c.Source, set: set}
		r.readEntries(ctx)
		ginkgo.Fail(fmt.Sprintf("a large request from %s to %s came to nothing: %s%s; %s. The largest packets of the connection were, hop by hop:%s",
			c.Source, s.to, fateOf(c), r.sentOn(c), r.whyLost(c, f.mine()), largest(f.mine())))
	}
	for _, p := range set.Find(func(p capture.Packet) bool { return p.Node == s.from && p.Direction == capture.In && p.MTU > 0 }) {
		ginkgo.By("the client was told of a smaller MTU: " + p.Summary())
	}
	res := session.Result()
	r.conns = res.Connections
	if res.Answered() == 0 && !r.refusedAsPlanned() {
		ginkgo.Fail(fmt.Sprintf("none of %d large requests to %s was answered: %v %v", n, s.to, res.Outcomes, res.Errors))
	}
}

// whyLost tells a matter of size from others: what was large must not have
// come to the other end, of two that had something to say.
func (r *round) whyLost(c traffic.Connection, packets []capture.Packet) string {
	most := func(of func(capture.Packet) bool) (n int) {
		for _, p := range packets {
			if of(p) {
				n = max(n, p.Innermost().Payload)
			}
		}
		return n
	}
	server := func(p capture.Packet) bool { return slices.Contains(r.RealServers, p.Node) }
	asked := most(func(p capture.Packet) bool { return p.Node == r.from && p.Direction == capture.Out })
	heard := most(func(p capture.Packet) bool { return server(p) && p.Direction == capture.In })
	said := most(func(p capture.Packet) bool { return server(p) && p.Direction == capture.Out })
	got := most(func(p capture.Packet) bool { return p.Node == r.from && p.Direction == capture.In })
	switch {
	case c.Outcome == traffic.Failed && r.strange(c):
		return "somebody answered, but not as the lab's server does"
	case asked == 0:
		return "it did not come to size, the connection was never made"
	case heard < asked:
		return "packets that fill the MTU are lost on the way to the real server"
	case got < said:
		return "packets that fill the MTU are lost on the way back"
	default:
		return "size is not what it failed by: what was sent came to the other end"
	}
}

// largest lists each hop's largest packet, and what was said of sizes.
func largest(packets []capture.Packet) string {
	type hop struct {
		node, iface string
		way         capture.Direction
	}
	var hops []hop
	most := map[hop]capture.Packet{}
	var told []string
	for _, p := range packets {
		if p.MTU > 0 {
			told = append(told, "\n    "+p.String())
		}
		h := hop{p.Node, p.Interface, p.Direction}
		if _, ok := most[h]; !ok {
			hops = append(hops, h)
		}
		if p.Length > most[h].Length {
			most[h] = p
		}
	}
	var b strings.Builder
	for _, h := range hops {
		fmt.Fprintf(&b, "\n    %d bytes: %s", most[h].Length, most[h])
	}
	if told == nil {
		told = []string{"\n    nobody was told of a smaller MTU"}
	}
	return b.String() + strings.Join(told, "")
}
