package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
)

// The kernel's timeouts (ip_vs_proto_tcp.c, tcp_timeouts; ip_vs_proto_udp.c).
const (
	synRecvTimeout  = time.Minute
	timeWaitTimeout = 2 * time.Minute
	closeTimeout    = 10 * time.Second
)

// lifeTCP follows connection entries through their states: half open,
// established, closed by the client, by the real server, reset.
func (s *service) lifeTCP(ctx context.Context) {
	r := s.begin(ctx, true)
	s.st.capture(ctx)
	timeouts, err := s.st.table(ctx, s.director).Timeouts(ctx)
	must(err)

	ginkgo.By("opening a connection")
	c, ok := r.one(ctx)
	if !ok {
		return
	}
	r.awaitEntry(ctx, c, timeouts.TCP, "ESTABLISHED")
	ginkgo.By("closing it from the client")
	must(r.session.CloseConns(ctx, traffic.CloseClient, c.Index))
	r.awaitClosed(ctx, c, timeouts)
	if c, ok := r.another(ctx); ok && !s.anonymous {
		ginkgo.By("having a connection closed by its real server")
		must(r.session.CloseConns(ctx, traffic.CloseServer, c.Index))
		r.awaitClosed(ctx, c, timeouts)
	}
	if c, ok := r.another(ctx); ok {
		ginkgo.By("resetting a connection")
		must(r.session.CloseConns(ctx, traffic.CloseReset, c.Index))
		r.awaitEntry(ctx, c, closeTimeout, "CLOSE")
	}
	if !slices.ContainsFunc(s.Spec.Destinations, func(d lb.Destination) bool { return d.Upper > 0 }) {
		s.halfOpen(ctx) // its client does not wait to be refused, as it may be by thresholds
	}
}

// awaitClosed waits for the state of a connection that both sides have closed.
func (r *round) awaitClosed(ctx context.Context, c traffic.Connection, timeouts lb.Timeouts) {
	ginkgo.GinkgoHelper()
	if r.oneSided(c) {
		r.awaitEntry(ctx, c, timeouts.TCPFin, "FIN_WAIT")
	} else {
		r.awaitEntry(ctx, c, timeWaitTimeout, "TIME_WAIT")
	}
}

// one opens a connection that has to be answered, unless the scheduler has
// nobody for it: that is false.
func (r *round) one(ctx context.Context) (traffic.Connection, bool) {
	ginkgo.GinkgoHelper()
	c, ok := r.another(ctx)
	if !ok && r.refusedAsPlanned() {
		return c, false
	}
	if !ok {
		ginkgo.Fail(fmt.Sprintf("the connection from %s to %s was not answered: %s%s", r.from, r.to, fateOf(c), r.sentOn(c)))
	}
	return c, true
}

// refusedAsPlanned tells whether all connections were refused, and the model
// says that they must be: of dh and sh the hash may lead to a real server
// whose weight is 0.
func (r *round) refusedAsPlanned() bool {
	if r.model == nil || slices.ContainsFunc(r.conns, func(c traffic.Connection) bool { return c.Outcome != traffic.Refused }) {
		return false
	}
	if slices.ContainsFunc(r.predicted(), func(i int) bool { return i >= 0 }) {
		return false
	}
	note("%s: %s has no real server for this client, so there is nothing to see", r.Name, r.Spec.Scheduler)
	return true
}

func (r *round) another(ctx context.Context) (traffic.Connection, bool) {
	ginkgo.GinkgoHelper()
	conns, err := r.session.Open(ctx, 1)
	must(err)
	r.conns = append(r.conns, conns...)
	r.readEntries(ctx)
	return conns[0], conns[0].Outcome == traffic.Answered
}

// oneSided: the director sees no answers, and so only the client's side of the
// connection (ip_vs_proto_tcp.c, TCP_DIR_INPUT_ONLY).
func (r *round) oneSided(c traffic.Connection) bool {
	ginkgo.GinkgoHelper()
	i := r.destination(c)
	return i >= 0 && !r.answersPass(i, c.Source.Addr())
}

// entryOf is what the director's entry for a connection must say.
func (r *round) entryOf(c traffic.Connection, atMost time.Duration, states ...string) assertions.Entry {
	e := assertions.Entry{Protocol: r.transport(), Client: c.Source, Virtual: r.to, States: states, AtMost: atMost}
	for i, n := range r.names {
		if n == c.Identity && r.label(i) == n {
			d := r.Spec.Destinations[i]
			e.Real = netip.AddrPortFrom(d.Addr, d.Port)
			if d.Port == 0 {
				e.Real = netip.AddrPortFrom(d.Addr, r.to.Port())
			}
		}
	}
	return e
}

// awaitEntry waits until the entry is as it must be: a packet may be on its way.
func (r *round) awaitEntry(ctx context.Context, c traffic.Connection, atMost time.Duration, states ...string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, r.service.entries).WithTimeout(r.st.settleTimeout()).WithPolling(pollInterval).
		Should(assertions.HaveEntry(r.entryOf(c, atMost, states...)))
}

// halfOpen sends a SYN whose answer is dropped at the client.
func (s *service) halfOpen(ctx context.Context) {
	ginkgo.By("leaving a connection half open")
	session := s.st.session(s.from, traffic.Spec{Protocol: traffic.TCP, To: s.to, HalfOpen: true, Timeout: s.st.visitTimeout()})
	conns, err := session.Open(ctx, 1)
	must(err)
	if conns[0].Outcome == traffic.Refused {
		return // no real server takes another one
	}
	gomega.Eventually(ctx, s.entries).WithTimeout(s.st.settleTimeout()).WithPolling(pollInterval).
		Should(assertions.HaveEntry(assertions.Entry{
			Protocol: lb.TCP, Client: conns[0].Source, Virtual: s.to, States: []string{"SYN_RECV"}, AtMost: synRecvTimeout,
		}))
}

// goes sees an entry vanish after a timeout made short: an idle connection's
// where the director sees both sides, a closed one's where it doesn't.
func (s *service) goes(ctx context.Context) {
	table := s.st.table(ctx, s.director)
	old, err := table.Timeouts(ctx)
	must(err)
	r := s.begin(ctx, s.transport() == lb.TCP)
	s.st.capture(ctx)
	must(table.SetTimeouts(ctx, lb.Timeouts{TCP: time.Second, TCPFin: time.Second, UDP: time.Second}))
	ginkgo.DeferCleanup(func(ctx ginkgo.SpecContext) { must(table.SetTimeouts(ctx, old)) })
	c, ok := r.one(ctx)
	if !ok {
		return
	}
	if s.transport() == lb.TCP && r.oneSided(c) {
		must(r.session.CloseConns(ctx, traffic.CloseClient, c.Index))
	}
	r.awaitGone(ctx, c, s.st.settleTimeout())
}

func (r *round) awaitGone(ctx context.Context, c traffic.Connection, within time.Duration) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, r.service.entries).WithTimeout(within).WithPolling(10 * pollInterval).
		ShouldNot(assertions.HaveEntry(assertions.Entry{Protocol: r.transport(), Client: c.Source, Virtual: r.to}))
}

// lifeUDP sees an entry for a datagram's sender.
func (s *service) lifeUDP(ctx context.Context) {
	r := s.begin(ctx, false)
	s.st.capture(ctx)
	timeouts, err := s.st.table(ctx, s.director).Timeouts(ctx)
	must(err)
	ginkgo.By("sending a datagram")
	if c, ok := r.one(ctx); ok {
		r.awaitEntry(ctx, c, timeouts.UDP, "UDP")
	}
}

// The timeouts of associations (ip_vs_proto_sctp.c, sctp_timeouts).
const (
	associationTimeout       = 15 * time.Minute
	associationClosedTimeout = time.Minute
)

// lifeSCTP sees entries of associations: established, then closed by either
// side, or aborted.
func (s *service) lifeSCTP(ctx context.Context) {
	r := s.begin(ctx, true)
	s.st.capture(ctx)
	ways := []traffic.CloseMode{traffic.CloseClient, traffic.CloseServer, traffic.CloseReset}
	if s.anonymous {
		ways = slices.DeleteFunc(ways, func(w traffic.CloseMode) bool { return w == traffic.CloseServer })
	}
	for i, how := range ways {
		c, ok := r.another(ctx)
		if !ok && (i > 0 || r.refusedAsPlanned()) {
			break // thresholds may refuse it
		}
		if !ok {
			ginkgo.Fail(fmt.Sprintf("the association from %s to %s was not answered: %s%s", r.from, r.to, fateOf(c), r.sentOn(c)))
		}
		r.awaitEntry(ctx, c, associationTimeout, "ESTABLISHED")
		ginkgo.By(fmt.Sprintf("having association %d closed by %s", c.Index+1, how))
		must(r.session.CloseConns(ctx, how, c.Index))
		r.awaitEntry(ctx, c, associationClosedTimeout, "CLOSED")
	}
}

// resetGoes sees the entry of a reset connection go, which takes the kernel's 10 s.
func (s *service) resetGoes(ctx context.Context) {
	r := s.begin(ctx, true)
	c, ok := r.one(ctx)
	if !ok {
		return
	}
	must(r.session.CloseConns(ctx, traffic.CloseReset, c.Index))
	r.awaitEntry(ctx, c, closeTimeout, "CLOSE")
	ginkgo.By("waiting for its entry to go")
	r.awaitGone(ctx, c, closeTimeout+s.st.settleTimeout())
}
