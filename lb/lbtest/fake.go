// Package lbtest holds an in-memory lb.Table for tests without a kernel, and
// the conformance suite that it and the kernel's table both pass.
//
// The fake imitates what net/netfilter/ipvs/ip_vs_ctl.c does with a table:
// which changes it refuses, with which error, and in which order it keeps
// destinations. It forwards no packets: counters stay zero unless a test sets
// them. The package imports nothing of ours but lb.
package lbtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// Schedulers are those a Fake knows unless told otherwise: the ones of
// Debian's kernels, and "none", which needs no module.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "sed", "nq", "lblc", "lblcr", "dh", "sh", "mh", "fo", "ovf", "none"}

// Fake is a table in memory. The zero value is empty and usable.
type Fake struct {
	// Schedulers that exist; nil: those of the variable Schedulers.
	Schedulers []string
	// Refuse, if set, is asked before each change; its error is the outcome.
	Refuse func(lb.Change) error
	// Ignore, if set, names changes that are accepted and not made, as a faulty
	// kernel or somebody else's hand would have it.
	Ignore func(lb.Change) bool

	mu       sync.Mutex
	services []lb.Service
	timeouts lb.Timeouts
	daemons  []lb.SyncDaemon
	closed   bool
	writes   int
	lists    int
}

var _ lb.Table = (*Fake)(nil)

// Writes counts the changes handed to Apply so far.
func (f *Fake) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Lists counts the reads of the whole table so far.
func (f *Fake) Lists() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lists
}

// SetCounters sets what a destination's counters show.
func (f *Fake) SetCounters(k lb.Key, d lb.DestKey, c lb.Counters) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dest, err := f.destination(k, d)
	if err == nil {
		dest.Counters = c
	}
	return err
}

// begin takes the table for one call.
func (f *Fake) begin(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, lb.ErrClosed
	}
	return f.mu.Unlock, nil
}

// List implements lb.Table.
func (f *Fake) List(ctx context.Context) ([]lb.Service, error) {
	unlock, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f.lists++
	out := slices.Clone(f.services)
	for i := range out {
		out[i].Destinations = slices.Clone(out[i].Destinations)
	}
	return out, nil
}

// Get implements lb.Table.
func (f *Fake) Get(ctx context.Context, k lb.Key) (lb.Service, error) {
	unlock, err := f.begin(ctx)
	if err != nil {
		return lb.Service{}, err
	}
	defer unlock()
	s, err := f.service(k)
	if err != nil {
		return lb.Service{}, fmt.Errorf("read service %s: %w", k, err)
	}
	out := *s
	out.Destinations = slices.Clone(s.Destinations)
	return out, nil
}

// Destinations implements lb.Table.
func (f *Fake) Destinations(ctx context.Context, k lb.Key) ([]lb.Destination, error) {
	s, err := f.Get(ctx, k)
	return s.Destinations, err
}

// Zero implements lb.Table. Live connection counts are no statistics and stay.
func (f *Fake) Zero(ctx context.Context, keys ...lb.Key) error {
	unlock, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if len(keys) == 0 {
		for _, s := range f.services {
			keys = append(keys, s.Key)
		}
	}
	var errs []error
	for _, k := range keys {
		s, err := f.service(k)
		if err != nil {
			errs = append(errs, fmt.Errorf("zero counters of %s: %w", k, err))
			continue
		}
		s.Counters = lb.Counters{}
		for i, d := range s.Destinations {
			c := d.Counters
			s.Destinations[i].Counters = lb.Counters{Active: c.Active, Inactive: c.Inactive, Persistent: c.Persistent}
		}
	}
	return errors.Join(errs...)
}

// Info implements lb.Table.
func (f *Fake) Info(ctx context.Context) (lb.Info, error) {
	unlock, err := f.begin(ctx)
	if err != nil {
		return lb.Info{}, err
	}
	defer unlock()
	return lb.Info{Version: 0x010201, ConnTableSize: 4096}, nil
}

// Timeouts implements lb.Table.
func (f *Fake) Timeouts(ctx context.Context) (lb.Timeouts, error) {
	unlock, err := f.begin(ctx)
	if err != nil {
		return lb.Timeouts{}, err
	}
	defer unlock()
	defaults := lb.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second}
	return mergeTimeouts(defaults, f.timeouts), nil
}

// SetTimeouts implements lb.Table.
func (f *Fake) SetTimeouts(ctx context.Context, t lb.Timeouts) error {
	unlock, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	f.timeouts = mergeTimeouts(f.timeouts, t)
	return nil
}

func mergeTimeouts(old, set lb.Timeouts) lb.Timeouts {
	choose := func(set, old time.Duration) time.Duration {
		if set != 0 {
			return set
		}
		return old
	}
	return lb.Timeouts{TCP: choose(set.TCP, old.TCP), TCPFin: choose(set.TCPFin, old.TCPFin), UDP: choose(set.UDP, old.UDP)}
}

// Close implements lb.Table.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
