package handover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/ipvslab/ipvslab/lab/traffic"
)

// client is a run under way.
type client struct {
	Spec
	enter   traffic.Enter
	began   time.Time
	streams []*stream
}

// Run is the client. Connections that fail are results and not errors; the
// error is about the client itself, its events, or the context's.
func Run(ctx context.Context, enter traffic.Enter, spec Spec) (Result, error) {
	spec, err := spec.withDefaults()
	if err != nil {
		return Result{}, err
	}
	c := &client{Spec: spec, enter: enter}
	if err := traffic.RaiseFileLimit(uint64(spec.Streams + 512)); err != nil {
		return Result{}, fmt.Errorf("hand-over: open %d streams: %w", spec.Streams, err)
	}
	defer c.closeStreams()
	if err := c.openStreams(ctx); err != nil {
		return Result{}, err
	}
	return c.run(ctx)
}

func (c *client) run(ctx context.Context) (Result, error) {
	var fresh traffic.Result
	var marks []Mark
	var freshErr, eventErr error
	var session *traffic.Session
	if c.Rate > 0 {
		var err error
		if session, err = c.session(); err != nil {
			return Result{}, err
		}
		defer session.Close()
	}
	c.began = time.Now()
	var all sync.WaitGroup
	for _, s := range c.streams {
		all.Go(func() { s.run(ctx, c) })
	}
	if session != nil {
		// The session's clock began when it was made, right before ours.
		all.Go(func() {
			_, freshErr = session.Open(ctx, 0)
			fresh = session.Result()
		})
	}
	all.Go(func() { marks, eventErr = c.events(ctx) })
	var still []Standstill
	var watching sync.WaitGroup
	running, over := context.WithCancel(context.WithoutCancel(ctx))
	watching.Go(func() { still = standstills(running, c.began) })
	all.Wait()
	over()
	watching.Wait()
	return c.result(fresh, marks, still), errors.Join(freshErr, eventErr, ctx.Err())
}

// session opens the new connections: enough at once for all that wait for a timeout.
func (c *client) session() (*traffic.Session, error) {
	spec := traffic.Spec{
		Protocol: c.Protocol, To: c.To, Rate: c.Rate, Duration: c.Duration, Timeout: c.Timeout,
		Concurrency: int(c.Rate*c.Timeout.Seconds()) + 16,
	}
	for _, a := range c.Sources {
		spec.Sources = append(spec.Sources, netip.AddrPortFrom(a, 0))
	}
	return traffic.NewSession(c.enter, spec)
}

// events has them happen, one after the other. One that fails doesn't keep the
// next from happening: it may be what mends things.
func (c *client) events(ctx context.Context) ([]Mark, error) {
	var marks []Mark
	var errs []error
	for _, e := range c.Events {
		if !c.wait(ctx, e.At) {
			break
		}
		m := Mark{Name: e.Name, Due: Millis(e.At), At: Millis(time.Since(c.began))}
		err := e.Do(ctx)
		m.Took = Millis(time.Since(c.began)) - m.At
		if err != nil {
			m.Error = err.Error()
			errs = append(errs, fmt.Errorf("at %v: %w", e.At, err))
		}
		marks = append(marks, m)
	}
	return marks, errors.Join(errs...)
}

// wait waits for a moment of the run; false: the context ended first.
func (c *client) wait(ctx context.Context, at time.Duration) bool {
	timer := time.NewTimer(time.Until(c.began.Add(at)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
