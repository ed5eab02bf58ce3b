package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

const (
	// mostRefused ends a round: the kernel sends 6 "port unreachable" at once,
	// then one a second (icmp_ratelimit, ip-sysctl.rst).
	mostRefused = 3
	mostVisits  = 40
)

// round is a number of visits to a service, one opened after the other, and
// all that is known of them.
type round struct {
	*service
	held    bool
	session *traffic.Session
	since   uint64 // where the agent's log stood
	conns   []traffic.Connection
	entries map[netip.AddrPort]lb.Conn // the director's, by client
	model   *oracle.Model
	// liveBefore is the director's live count of connections when it began.
	liveBefore uint64
}

// visits is how many connections show the distribution: the weights twice.
func (s *service) visits() int {
	sum, div := 0, 0
	for _, d := range s.Spec.Destinations {
		sum, div = sum+int(d.Weight), gcd(div, int(d.Weight))
	}
	n := 2 * len(s.Spec.Destinations)
	if div > 0 {
		n = max(n, 2*sum/div)
	}
	return min(n, mostVisits)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// begin sets the service up afresh and readies a client.
func (s *service) begin(ctx context.Context, held bool) *round {
	r := &round{service: s, held: held}
	r.model = s.modelIfAny(s.reset(ctx))
	r.since = s.st.mark(ctx)
	r.liveBefore = s.live(ctx)
	spec := traffic.Spec{Protocol: s.protocol, To: s.to, Timeout: s.st.visitTimeout(), Hold: held, ConnectOnly: s.anonymous}
	r.session = s.st.session(s.from, spec)
	return r
}

// session readies a client in a node; it ends with the spec.
func (st *stage) session(from string, spec traffic.Spec) *traffic.Session {
	session, err := traffic.NewSession(st.node(from).Do, spec)
	must(err)
	ginkgo.DeferCleanup(func() { must(session.Close()) })
	return session
}

// mark is where the agent's log of accepted connections stands.
func (st *stage) mark(ctx context.Context) uint64 {
	log, err := st.lab.Accepted(ctx, 1<<62)
	must(err)
	return log.Next
}

// open opens connections one by one, and ends early when that has no use.
// Connections that are not held have left the director's active ones before
// the next is opened.
func (r *round) open(ctx context.Context, n int) {
	ginkgo.GinkgoHelper()
	how := "each closed before the next"
	if r.held {
		how = "all of them held"
	}
	ginkgo.By(fmt.Sprintf("opening %d %s connections from %s to %s, %s", n, r.protocol, r.from, r.to, how))
	refused := 0
	for range n {
		conns, err := r.session.Open(ctx, 1)
		must(err)
		r.conns = append(r.conns, conns...)
		outcome := conns[0].Outcome
		if outcome == traffic.Refused {
			refused++
		}
		if refused == mostRefused || outcome != traffic.Refused && outcome != traffic.Answered {
			break
		}
		if !r.held && outcome == traffic.Answered && r.connects() {
			must(r.awaitInactive(ctx))
		}
	}
	r.readEntries(ctx)
}

// awaitInactive waits until no connection of the service is active but those
// that were never answered: the director may not have seen what became of them.
func (r *round) awaitInactive(ctx context.Context) error {
	active, unanswered := uint32(0), uint32(0)
	for _, c := range r.conns {
		if c.Outcome != traffic.Answered {
			unanswered++
		}
	}
	err := until(ctx, r.st.settleTimeout(), func() (bool, error) {
		dests, err := r.st.table(ctx, r.director).Destinations(ctx, r.Spec.Key)
		active = 0
		for _, d := range dests {
			active += d.Counters.Active
		}
		return active <= unanswered, err
	})
	if errors.Is(err, errSlow) {
		return fmt.Errorf("the client has closed its connection, but %s counts %d as active: did the director see the end of it? %w", r.director, active, err)
	}
	return err
}

// readEntries reads the director's connection entries. The kernel tells them
// piece by piece, finding its place by counting all namespaces' entries
// (ip_vs_conn.c, ip_vs_conn_array): when some go meanwhile, as another lab's do,
// others are left out. So it is asked again for those that must be there.
func (r *round) readEntries(ctx context.Context) {
	r.entries = map[netip.AddrPort]lb.Conn{}
	for range 3 {
		found, err := r.service.entries(ctx)
		must(err)
		for _, e := range found {
			if !e.Template() {
				r.entries[e.Client] = e
			}
		}
		if r.Spec.Flags&lb.OnePacket != 0 || !slices.ContainsFunc(r.conns, r.lacksEntry) {
			return
		}
	}
}

func (r *round) lacksEntry(c traffic.Connection) bool {
	_, ok := r.entries[c.Source]
	return !ok && c.Outcome == traffic.Answered
}

// observed names who got each connection: the director's entry says so, or
// else, without one, the answer.
func (r *round) observed() []string {
	var out []string
	for _, c := range r.conns {
		e, ok := r.entries[c.Source]
		switch i := r.index(e.Real); {
		case ok && i >= 0:
			out = append(out, r.label(i))
		case ok:
			out = append(out, e.Real.String())
		case c.Outcome == traffic.Answered && c.Identity != "":
			out = append(out, r.labelOf(c.Identity))
		case c.Outcome == traffic.Refused:
			out = append(out, assertions.Refused)
		default:
			out = append(out, fmt.Sprintf("(%s)", fateOf(c)))
		}
	}
	return out
}

// predicted asks the model where each connection goes, by index of the
// destination; -1 is refused.
func (r *round) predicted() []int {
	var out []int
	for _, c := range r.conns {
		conn := oracle.Conn{Protocol: r.transport(), Client: c.Source, Virtual: r.to}
		key, ok := r.model.Pick(conn)
		if !ok {
			out = append(out, -1)
			continue
		}
		out = append(out, slices.IndexFunc(r.Spec.Destinations, func(d lb.Destination) bool { return d.DestKey == key }))
		if conn.Protocol == lb.SCTP {
			must(r.model.Activate(conn)) // by the time that it is answered
		}
		if !r.held && r.connects() {
			must(r.model.Deactivate(conn))
		}
	}
	return out
}

// names turns destinations into labels.
func (r *round) labels(indexes []int) []string {
	out := make([]string, len(indexes))
	for i, n := range indexes {
		out[i] = assertions.Refused
		if n >= 0 {
			out[i] = r.label(n)
		}
	}
	return out
}
