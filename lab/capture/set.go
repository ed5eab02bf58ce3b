package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"time"
)

// Point is a place to capture at.
type Point struct {
	Enter Enter
	Options
}

// Set is several captures looked at as one.
type Set []*Capture

// StartAll starts a capture at each point, all or none.
func StartAll(ctx context.Context, points ...Point) (Set, error) {
	var set Set
	for _, p := range points {
		c, err := Start(ctx, p.Enter, p.Options)
		if err != nil {
			return nil, errors.Join(err, set.Stop())
		}
		set = append(set, c)
	}
	return set, nil
}

// Stop stops every capture; it goes on past errors and joins them.
func (s Set) Stop() error {
	var errs []error
	for _, c := range s {
		errs = append(errs, c.Stop())
	}
	return errors.Join(errs...)
}

// Packets gives the packets of all captures in order of time.
func (s Set) Packets() []Packet {
	var all []Packet
	for _, c := range s {
		all = append(all, c.Packets()...)
	}
	sort.SliceStable(all, func(i, j int) bool {
		return earlier(all[i].Time, all[i].Direction, all[j].Time, all[j].Direction)
	})
	return all
}

// earlier orders what was captured at two places. A guest's clock may stand still for a
// quarter of a microsecond, which is as long as a packet takes on a cable: it
// goes out before it comes in.
func earlier(a time.Time, way Direction, b time.Time, other Direction) bool {
	if a.Equal(b) {
		return way == Out && other == In
	}
	return a.Before(b)
}

// Find gives those for which want holds, in order of time.
func (s Set) Find(want func(Packet) bool) []Packet {
	return slices.DeleteFunc(s.Packets(), func(p Packet) bool { return !want(p) })
}

// At gives the capture of a node's interface, or nil.
func (s Set) At(node, iface string) *Capture {
	for _, c := range s {
		if c.options.Node == node && c.options.Interface == iface {
			return c
		}
	}
	return nil
}

// WriteText writes a line per packet, in order of time.
func (s Set) WriteText(w io.Writer) error {
	for _, p := range s.Packets() {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return fmt.Errorf("write packets: %w", err)
		}
	}
	return nil
}

// WriteFile writes the packets of all captures to one pcapng file.
func (s Set) WriteFile(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return s.WritePcapng(f)
}

// WritePcapng writes the packets of all captures in order of time, one
// interface block for each capture, named node:interface, and the counters at
// the end (draft-ietf-opsawg-pcapng, sections 4.2, 4.3 and 4.6).
func (s Set) WritePcapng(out io.Writer) error {
	w := NewWriter(out)
	type taken struct {
		c *Capture
		f Frame
	}
	var all []taken
	for _, c := range s {
		if err := w.add(c); err != nil {
			return fmt.Errorf("write capture: %w", err)
		}
		for _, f := range c.Frames() {
			all = append(all, taken{c, f})
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		return earlier(all[i].f.Time, all[i].f.Direction, all[j].f.Time, all[j].f.Direction)
	})
	w.lazy = true
	for _, t := range all {
		if err := w.write(t.c, t.f); err != nil {
			return fmt.Errorf("write capture: %w", err)
		}
	}
	for _, c := range s {
		if err := w.counters(c, c.Stats(), time.Now()); err != nil {
			return fmt.Errorf("write capture: %w", err)
		}
	}
	return w.flush()
}
