package embedded

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/health/probe"
)

// healthServices are the services as the monitor is told them.
func (c *Config) healthServices() []health.Service {
	out := make([]health.Service, len(c.Services))
	for i, s := range c.Services {
		out[i] = health.Service{
			Name: s.Name, Spec: s.Spec, Check: s.Check, Own: s.Own, Quorum: s.Quorum, Hysteresis: s.Hysteresis, Sorry: s.Sorry, Target: s.Target,
		}
	}
	return out
}

func newMonitor(c *Config) *health.Monitor {
	return health.NewMonitor(c.healthServices(), time.Now(), health.Options{Random: random, FirstMark: health.FirstMark})
}

func random(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}

// newWatcher makes what checks the real servers.
func (d *director) newWatcher(ctx context.Context) *probe.Watcher {
	p := probe.Prober{}
	if path := d.config.Namespace; path != "" {
		p.Enter = func(fn func() error) error {
			ns, err := netns.OpenPath(path)
			if err != nil {
				return err
			}
			defer ns.Close()
			return ns.Do(fn)
		}
	}
	return probe.NewWatcher(d.monitor, p, func(events []health.Event) { d.checked(ctx, events) })
}

// watch checks the real servers until the function it returns is called.
func (d *director) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { d.watcher.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// checked tells of verdicts and makes the table follow them. Only the services
// that change are touched and read; if that fails the whole table is looked at.
func (d *director) checked(ctx context.Context, events []health.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range events {
		d.journal.add(d.verdict(e))
	}
	if err := d.applyLocked(ctx, d.controller.Update); err != nil && ctx.Err() == nil {
		_ = d.applyLocked(ctx, d.controller.Reconcile) // what is wrong is told, and in the status
	}
}

// verdict is the event of a monitor's event.
func (d *director) verdict(e health.Event) Event {
	out := Event{Time: e.Time, Service: e.Service, Text: e.Reason}
	switch e.Kind {
	case health.Up:
		out.Kind, out.From, out.To = Checked, "down", "up"
	case health.Down:
		out.Kind, out.From, out.To = Checked, "up", "down"
	case health.QuorumGained:
		out.Kind, out.From, out.To = Quorum, "lost", "gained"
	case health.QuorumLost:
		out.Kind, out.From, out.To = Quorum, "gained", "lost"
	}
	if e.Server.Addr.IsValid() {
		out.RealServer = d.config.realServer(e.Service, e.Server)
	}
	return out
}

// realServer is a real server's node, or its address.
func (c *Config) realServer(service string, k lb.DestKey) string {
	i := slices.IndexFunc(c.Services, func(s Service) bool { return s.Name == service })
	if i < 0 {
		return k.String()
	}
	s := &c.Services[i]
	at := slices.IndexFunc(s.Spec.Destinations, func(d lb.Destination) bool { return d.DestKey == k })
	if at < 0 || at >= len(s.RealServers) {
		return k.String()
	}
	return s.RealServers[at]
}
