package lab_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb/embedded"
	"github.com/ipvslab/ipvslab/topology"
)

// TestTakeoversInARow sends the addresses back and forth between two directors,
// by every fault there is, while a client keeps asking. No takeover gets stuck;
// where both directors live and hear each other, two are active for no longer
// than an interval (RFC 9568, section 6.4.3).
func TestTakeoversInARow(t *testing.T) {
	needIPVS(t)
	stateRoot(t)
	p, problems, err := topology.Open("../examples/failover.yaml", labName("row"))
	if err != nil {
		t.Fatalf("%v\n%v", err, problems)
	}
	p.Failover[0].Interval = 100 * time.Millisecond
	takeovers := 200
	if testing.Short() {
		takeovers = 10
	}
	row := &takeoverRow{t: t, l: up(t, p, lab.Options{}), interval: p.Failover[0].Interval}
	stop, served := row.load()
	defer stop()
	faults := []struct{ do, undo string }{
		{"stop", "restart"}, {"kill", "restart"}, {"freeze", "resume"}, {"link-down", "link-up"}, {"link-down on inside", "link-up on inside"},
	}
	for i := range takeovers / 2 {
		f := faults[i%len(faults)]
		row.pass("master-backup", "master "+f.do, "active")
		row.pass("master", "master "+f.undo, "active")
		row.agree(f.undo == "restart" && f.do == "stop")
	}
	stop()
	t.Logf("%d takeovers, %d requests served meanwhile, two active for %v at most", takeovers, served(), row.overlap)
	if served() == 0 {
		t.Error("no request was served")
	}
	if !testing.Short() && row.overlap > row.interval {
		t.Errorf("two directors were active for %v, longer than an interval", row.overlap)
	}
}

type takeoverRow struct {
	t        *testing.T
	l        *lab.Lab
	interval time.Duration
	overlap  time.Duration // the longest without a fault between the two
	came     time.Time     // when the latest director became active
}

func (r *takeoverRow) client(node string) embedded.Client {
	r.t.Helper()
	n, err := r.l.Node(node)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := n.Director()
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// pass does something and waits until a director has come into a state by it,
// or finds it there: one that was frozen never knew that it was not active.
func (r *takeoverRow) pass(node, fault, state string) {
	r.t.Helper()
	do(r.t, r.l, fault)
	r.await(node, state)
}

func (r *takeoverRow) await(node, state string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	c := r.client(node)
	for {
		st, err := c.Status(ctx)
		if err != nil {
			r.t.Fatalf("director %s is not %s: %v", node, state, err)
		}
		if g := st.Groups[0]; g.State == state {
			r.came = g.Since
			return
		}
		if _, err := c.Await(ctx, st.Event, func(e embedded.Event) bool { return e.Kind == embedded.Turned }); err != nil {
			r.t.Fatalf("director %s is not %s: %v", node, state, err)
		}
	}
}

// agree waits until the second director has given way to the first, and counts
// for how long both were active if there was no fault in that.
func (r *takeoverRow) agree(count bool) {
	r.t.Helper()
	came := r.came
	r.await("master-backup", "backup")
	if both := r.came.Sub(came); count && both > r.overlap {
		r.overlap = both
	}
	for _, node := range []string{"master", "master-backup"} {
		if err := r.owns(node, node == "master"); err != nil {
			r.t.Error(err)
		}
	}
}

// owns looks for the group's addresses in a node's kernel.
func (r *takeoverRow) owns(node string, want bool) error {
	holder, err := r.l.Holder("main")
	if err != nil {
		return err
	}
	if (holder == node) != want {
		return fmt.Errorf("director %s has the addresses: %t, want %t", holder, holder == node, want)
	}
	return nil
}

// load has a client ask for the VIP every few milliseconds.
func (r *takeoverRow) load() (stop func(), served func() int64) {
	client, err := r.l.Node("client")
	if err != nil {
		r.t.Fatal(err)
	}
	to := netip.AddrPortFrom(r.l.Plan().Services[0].Spec.Addr, 80)
	session, err := traffic.NewSession(client.Do, traffic.Spec{To: to, Timeout: 300 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	var count atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			conns, err := session.Open(ctx, 1)
			if err == nil && conns[0].Outcome == traffic.Answered {
				count.Add(1)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done; session.Close() }, count.Load
}
