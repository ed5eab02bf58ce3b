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
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// ownSpec makes the spec of a scenario of the file's.
func (st *stage) ownSpec(own *topology.Scenario) {
	ginkgo.It("scenario: "+own.Name, func(ctx ginkgo.SpecContext) {
		if own.Service == "" {
			st.visitAddress(ctx, own)
			return
		}
		for _, s := range st.services {
			if s.Name == own.Service && own.Traffic.Duration > 0 {
				st.playTimed(ctx, own, s.to)
				return
			}
			if s.Name == own.Service {
				s.play(ctx, own)
				return
			}
		}
		ginkgo.Fail(fmt.Sprintf("scenario %s: there is no service %s", own.Name, own.Service))
	}, ginkgo.SpecTimeout(st.ownTimeout(own)))
}

// specOfTraffic turns the file's words into the client's.
func specOfTraffic(t topology.Traffic, to netip.AddrPort) traffic.Spec {
	s := traffic.Spec{
		Protocol: t.Protocol, To: to, Connections: t.Connections, Concurrency: t.Concurrency,
		Hold: t.Hold, Timeout: t.Timeout,
	}
	for _, a := range t.Sources {
		s.Sources = append(s.Sources, netip.AddrPortFrom(a, 0))
	}
	return s
}

// play drives the scenario's traffic through a service.
func (s *service) play(ctx context.Context, own *topology.Scenario) {
	as := *s
	as.from, as.protocol = own.From, own.Traffic.Protocol
	r := &round{service: &as, held: own.Traffic.Hold}
	if s.Spec.Flags&lb.OnePacket != 0 {
		s.settleStatistics(ctx) // they are the kernel's only witness
	}
	have := s.reset(ctx)
	if own.Expect.Predicted && s.predictable() {
		r.model = s.model(have)
	}
	s.st.withFaults(ctx, own, s.to)
	if len(own.Faults) > 0 {
		now := s.awaitVerdicts(ctx)
		if r.model != nil {
			follow(r.model, have, now)
		}
	}
	s.st.capture(ctx)
	r.since = s.st.mark(ctx)
	spec := specOfTraffic(own.Traffic, s.to)
	spec.ConnectOnly = s.anonymous && spec.Protocol == traffic.TCP
	r.drive(ctx, spec, own.Traffic.Connections, traffic.Outcome(own.Expect.Outcome))
	checkOutcomes(r.conns, own.Expect.Outcome, r.entries)
	if own.Expect.Outcome != string(traffic.Answered) {
		return
	}
	r.checkExpectation(ctx, own)
}

// drive opens the scenario's connections. One after the other, the director is
// to have seen the end of each before the next; they end with the first that
// is waited for in vain, as the rest would only take as long.
func (r *round) drive(ctx context.Context, spec traffic.Spec, n int, want traffic.Outcome) {
	ginkgo.GinkgoHelper()
	ginkgo.By(fmt.Sprintf("opening %d %s connections from %s to %s, at most %d at once", n, spec.Protocol, r.from, spec.To, spec.Concurrency))
	spec.Connections = 0
	r.session = r.st.session(r.from, spec)
	step := n
	if spec.Concurrency == 1 && !spec.Hold {
		step = 1
	}
	for opened := 0; opened < n; opened += step {
		conns, err := r.session.Open(ctx, step)
		must(err)
		r.conns = append(r.conns, conns...)
		if rest := n - len(r.conns); step == 1 && conns[0].Outcome == traffic.TimedOut && want != traffic.TimedOut {
			note("connection %d was waited for in vain; %d more were not opened", len(r.conns), rest)
			break
		}
		if step == 1 && spec.Protocol != traffic.UDP && conns[0].Outcome == traffic.Answered {
			must(r.awaitInactive(ctx))
		}
	}
	r.readEntries(ctx)
}

// checkOutcomes expects the same of all connections. The director's entries, if
// it was asked, say who had the example.
func checkOutcomes(conns []traffic.Connection, want string, entries map[netip.AddrPort]lb.Conn) {
	ginkgo.GinkgoHelper()
	wrong, example := 0, ""
	for _, c := range conns {
		if string(c.Outcome) != want {
			wrong++
			example = strings.TrimSpace(fmt.Sprintf("connection %d from %s: %s %s %s", c.Index+1, c.Source, c.Outcome, c.Kind, c.Identity))
			if e, ok := entries[c.Source]; ok {
				example += ", which the director had sent on to " + e.Real.String()
			}
		}
	}
	if wrong > 0 {
		ginkgo.Fail(fmt.Sprintf("every connection must end as %q; %d of %d did not, such as %s", want, wrong, len(conns), example))
	}
}

func (r *round) checkExpectation(ctx context.Context, own *topology.Scenario) {
	ginkgo.GinkgoHelper()
	x := own.Expect
	if len(x.Sequence) > 0 {
		gomega.Expect(sequence(r.conns)).To(assertions.FollowPrediction(x.Sequence, "the sequence is the file's own"))
	}
	want := x.Counts
	switch {
	case x.Predicted && own.Traffic.Concurrency == 1:
		want = r.checkPicks(ctx)
	case x.Predicted && r.model != nil:
		want = map[string]int{}
		for _, i := range r.predicted() {
			if i >= 0 {
				want[r.names[i]]++
			}
		}
	}
	w := r.witnesses(ctx)
	if want == nil {
		want = w.Kernel
	}
	gomega.Expect(w).To(assertions.AgreeOn(want))
}

func sequence(conns []traffic.Connection) []string {
	var out []string
	for _, c := range conns {
		out = append(out, c.Identity)
	}
	return out
}

// visitAddress drives a scenario's traffic to an address, past all services.
func (st *stage) visitAddress(ctx context.Context, own *topology.Scenario) {
	to, err := netip.ParseAddrPort(own.To)
	must(err)
	if own.Traffic.Duration > 0 {
		st.playTimed(ctx, own, to)
		return
	}
	st.withFaults(ctx, own, to)
	st.capture(ctx)
	since := st.mark(ctx)
	ginkgo.By(fmt.Sprintf("opening %d connections from %s to %s", own.Traffic.Connections, own.From, to))
	res, err := traffic.Run(ctx, st.node(own.From).Do, specOfTraffic(own.Traffic, to))
	must(err)
	checkOutcomes(res.Connections, own.Expect.Outcome, nil)
	if own.Expect.Outcome != string(traffic.Answered) {
		return
	}
	if len(own.Expect.Sequence) > 0 {
		gomega.Expect(res.Sequence()).To(assertions.FollowPrediction(own.Expect.Sequence, "the sequence is the file's own"))
	}
	if own.Expect.Counts == nil {
		return
	}
	w := assertions.Witnesses{Client: res.Identities, Notes: []string{"no director is asked: the scenario goes to an address"}}
	if st.named(own.Expect.Counts) {
		w.Servers = st.accepted(ctx, since, func(a traffic.Accepted) (string, bool) {
			return a.Identity, slices.ContainsFunc(res.Connections, func(c traffic.Connection) bool { return c.Source == a.Remote })
		})
	}
	gomega.Expect(w).To(assertions.AgreeOn(own.Expect.Counts))
}

// named tells whether all names are of built-in responders, who can be asked.
func (st *stage) named(counts map[string]int) bool {
	known := map[string]bool{}
	for _, n := range st.plan.Nodes {
		for _, r := range n.Responders {
			known[r.Identity] = true
		}
	}
	for name := range counts {
		if !known[name] {
			return false
		}
	}
	return true
}
