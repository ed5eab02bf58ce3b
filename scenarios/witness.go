package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
)

// witnesses asks all three about the round's connections.
func (r *round) witnesses(ctx context.Context) assertions.Witnesses {
	w := assertions.Witnesses{Kernel: r.kernelCount(ctx)}
	sources := map[netip.AddrPort]bool{}
	refused := 0
	for _, c := range r.conns {
		sources[c.Source] = true
		switch c.Outcome {
		case traffic.Answered:
		case traffic.Refused:
			if e, ok := r.entries[c.Source]; ok {
				w.Unanswered++
				w.Notes = append(w.Notes, fmt.Sprintf("connection %d from %s was refused, though the director had sent it on to %s: does that one listen?", c.Index+1, c.Source, e.Real))
				continue
			}
			refused++
		default:
			w.Unanswered++
			if r.strange(c) {
				w.Strange++
			}
			w.Notes = append(w.Notes, fmt.Sprintf("connection %d from %s: %s%s", c.Index+1, c.Source, fateOf(c), r.sentOn(c)))
		}
	}
	if refused > 0 {
		w.Notes = append(w.Notes, fmt.Sprintf("%d connections were refused", refused))
	}
	if r.anonymous {
		w.Notes = append(w.Notes, "the real servers run programs of the user's: client and servers could not be asked")
		return w
	}
	w.Client = map[string]int{}
	for _, c := range r.conns {
		if c.Outcome == traffic.Answered {
			w.Client[c.Identity]++
		}
	}
	w.Servers = r.st.accepted(ctx, r.since, func(a traffic.Accepted) (string, bool) {
		return r.serverName(a), sources[a.Remote]
	})
	return w
}

// fateOf is what the client saw of a connection that was not answered.
func fateOf(c traffic.Connection) string {
	switch c.Kind {
	case traffic.KindDeadline:
		return fmt.Sprintf("no answer within %.1f s", c.Latency.Seconds())
	case "EADDRNOTAVAIL":
		return "the client has no local port left (EADDRNOTAVAIL; net.ipv4.ip_local_port_range)"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s", c.Outcome, c.Kind))
}

// sentOn says where the director has sent a connection.
func (r *round) sentOn(c traffic.Connection) string {
	e, ok := r.entries[c.Source]
	if !ok {
		return ""
	}
	return fmt.Sprintf(", which the director had sent on to %s (its entry says %s)", e.Real, e.State)
}

// strange tells whether somebody spoke with the client of a connection that was
// not answered as it must be.
func (r *round) strange(c traffic.Connection) bool {
	if c.Outcome == traffic.TimedOut {
		return slices.Contains([]string{"ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT"}, r.entries[c.Source].State)
	}
	spoken := c.Kind == traffic.KindEOF || !strings.HasPrefix(c.Kind, "E") // else it is an errno, such as EHOSTUNREACH
	return c.Outcome == traffic.Failed && spoken
}

// kernelCount counts the director's entries by real server. One-packet
// scheduling leaves none; then its statistics are the witness, once they have
// been refreshed.
func (r *round) kernelCount(ctx context.Context) map[string]int {
	counts := map[string]int{}
	if r.Spec.Flags&lb.OnePacket != 0 {
		want := 0
		for _, c := range r.conns {
			if c.Outcome == traffic.Answered {
				want++
			}
		}
		return r.statistics(ctx, want)
	}
	// The table was empty: whatever is in it came with the round.
	for _, e := range r.entries {
		if i := r.index(e.Real); i >= 0 {
			counts[r.names[i]]++
		} else {
			counts[e.Real.String()]++
		}
	}
	return counts
}

// statsInterval is how often the kernel refreshes its statistics (ip_vs_est.c), with some reserve.
const statsInterval = 2500 * time.Millisecond

// steady is how many readings in a row must say the same of what another
// program may be changing.
const steady = 10

// settleStatistics waits until the statistics hold all earlier visits, if there
// may be any. The reset that follows then sets them to zero: of a destination
// that comes back from the trash the kernel takes off what it had counted at
// the last refresh (ip_vs_ctl.c, __ip_vs_update_dest).
func (s *service) settleStatistics(ctx context.Context) {
	ginkgo.GinkgoHelper()
	joined := s.st.Lab != nil && !s.st.settled
	s.st.settled = true
	if !joined && !s.touched {
		return
	}
	ginkgo.By("waiting for the director's statistics of earlier visits")
	select {
	case <-time.After(statsInterval):
	case <-ctx.Done():
		must(ctx.Err())
	}
	// On a busy machine the kernel's timer may be late. Somebody's own traffic, or
	// ipvsadm -Z, keeps the two apart for good.
	err := until(ctx, hastySettle, func() (bool, error) {
		late, err := s.lag(ctx)
		return late == 0, err
	})
	if errors.Is(err, errSlow) {
		late, err := s.lag(ctx)
		must(err)
		note("the statistics of %s differ from its live totals by %d packets and connections", s.director, late)
		return
	}
	must(err)
}

// lag is by how much the director's refreshed statistics differ from its live ones.
func (s *service) lag(ctx context.Context) (int64, error) {
	table := s.st.table(ctx, s.director)
	live, err := table.LiveTotals(ctx)
	if err != nil {
		return 0, err
	}
	told, err := table.Totals(ctx)
	return int64(live.Conns-told.Conns) + int64(live.InPkts-told.InPkts), err
}

// statistics are the director's counts of connections since the base; they are refreshed every 2 s, so they are waited for until their sum
// is the wanted one, and still is when they are read again and again: what another program zeroes is right only for a moment.
func (r *round) statistics(ctx context.Context, want int) map[string]int {
	var counts map[string]int
	agreed := 0
	err := until(ctx, r.st.settleTimeout(), func() (bool, error) {
		counts = map[string]int{}
		sum := 0
		dests, err := r.st.table(ctx, r.director).Destinations(ctx, r.Spec.Key)
		for _, d := range dests {
			name := d.DestKey.String()
			if i := r.index(netip.AddrPortFrom(d.Addr, d.Port)); i >= 0 {
				name = r.names[i]
			}
			n := int(d.Counters.Conns)
			counts[name] += n
			sum += n
		}
		if sum < want {
			agreed = 0
			return false, err
		}
		agreed++
		return agreed == steady, err
	})
	if err != nil && counts == nil {
		must(err)
	}
	return counts
}

// serverName is how the service calls the server that accepted a connection:
// by its place in the plan, whatever it has answered.
func (s *service) serverName(a traffic.Accepted) string {
	for i, node := range s.RealServers {
		if node == a.Node && s.realPort(i, s.to.Port()) == a.Local.Port() {
			return s.names[i]
		}
	}
	return a.Node
}

// accepted counts what responders have accepted since a mark, by the name that
// the function gives; false: not counted.
func (st *stage) accepted(ctx context.Context, since uint64, name func(traffic.Accepted) (string, bool)) map[string]int {
	log, err := st.lab.Accepted(ctx, since)
	must(err)
	if log.Lost > 0 {
		must(fmt.Errorf("the agent of lab %s forgot %d accepted connections: too many visit the lab at once", st.plan.Name, log.Lost))
	}
	counts := map[string]int{}
	for _, a := range log.Entries {
		if n, ok := name(a); ok {
			counts[n]++
		}
	}
	return counts
}
