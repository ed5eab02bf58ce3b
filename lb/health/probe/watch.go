package probe

import (
	"context"
	"sync"
	"time"

	"github.com/ipvslab/ipvslab/lb/health"
)

// leastPause keeps many checks that are due within moments of each other from
// waking the watcher one by one.
const leastPause = time.Millisecond

// Watcher does the checks that a Monitor finds due.
type Watcher struct {
	monitor *health.Monitor
	prober  Prober
	changed func([]health.Event)
	wake    chan struct{}
}

// NewWatcher makes a Watcher that calls changed, from one goroutine at a time,
// with what changes; never without events.
func NewWatcher(m *health.Monitor, p Prober, changed func([]health.Event)) *Watcher {
	return &Watcher{monitor: m, prober: p, changed: changed, wake: make(chan struct{}, 1)}
}

// Wake makes the Watcher look at once what is due, after a Reload of its Monitor.
func (w *Watcher) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

type result struct {
	probe health.Probe
	err   error
}

// Run does checks until ctx ends. When it returns, none is under way.
func (w *Watcher) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	results := make(chan result)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, probe := range w.monitor.Due(time.Now()) {
			running.Go(func() {
				err := w.prober.Check(ctx, probe)
				select {
				case results <- result{probe, err}:
				case <-ctx.Done():
				}
			})
		}
		if next := w.monitor.Next(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(next), leastPause))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.wake:
		case r := <-results:
			if events := w.monitor.Result(time.Now(), r.probe, r.err); len(events) > 0 {
				w.changed(events)
			}
		}
	}
}
