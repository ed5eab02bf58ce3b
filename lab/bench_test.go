package lab_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sys/unix"
)

// BenchmarkUpDown brings client, director and real servers on two segments up
// and down, without responders: what a script of `ip` commands could do.
func BenchmarkUpDown(b *testing.B) {
	probetest.Namespaces(b)
	stateRoot(b)
	p := idle(plan(b, "nat.yaml", labName("bench")))
	for b.Loop() {
		l, err := lab.Up(b.Context(), p, lab.Options{NoServices: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Down(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThousandNodes reports the time of a lab of 1,000 nodes on one segment
// beside that of nothing but 1,000 namespaces.
func BenchmarkThousandNodes(b *testing.B) {
	probetest.Namespaces(b)
	stateRoot(b)
	p := idle(plan(b, "thousand.yaml", labName("thousand")))
	var up, down, bare time.Duration
	for b.Loop() {
		bare += bareNamespaces(b, len(p.Nodes))
		start := time.Now()
		l, err := lab.Up(b.Context(), p, lab.Options{NoServices: true})
		if err != nil {
			b.Fatal(err)
		}
		up += time.Since(start)
		start = time.Now()
		if err := l.Down(b.Context()); err != nil {
			b.Fatal(err)
		}
		down += time.Since(start)
	}
	n := float64(b.N)
	b.ReportMetric(up.Seconds()/n, "up-s")
	b.ReportMetric(down.Seconds()/n, "down-s")
	b.ReportMetric(bare.Seconds()/n, "bare-s")
	b.ReportMetric(up.Seconds()/bare.Seconds(), "up/bare")
}

// bareNamespaces is the least that any lab of n nodes has to do.
func bareNamespaces(b *testing.B, n int) time.Duration {
	done := make(chan error)
	var took time.Duration
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in its last namespace
		start := time.Now()
		for range n {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				done <- err
				return
			}
		}
		took = time.Since(start)
		done <- nil
	}()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// idle takes the responders out of a plan.
func idle(p *topology.Plan) *topology.Plan {
	for i := range p.Nodes {
		p.Nodes[i].Responders = nil
	}
	return p
}
