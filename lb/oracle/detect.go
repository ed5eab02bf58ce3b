package oracle

import (
	"errors"
	"fmt"

	"github.com/ipvslab/ipvslab/lb"
)

// ErrInconclusive: a kernel did something in the experiment that none of the
// known variants does.
var ErrInconclusive = errors.New("inconclusive experiment")

// Prober is what [Detect] needs: a TCP service with the scheduler wlc, not used
// by anybody else, without persistence, at first without destinations, and two
// real servers behind it that have never been destinations of it.
type Prober interface {
	// Dests are the two.
	Dests() [2]lb.DestKey
	// Set adds a destination to the service, or edits it when it is there.
	Set(lb.Destination) error
	// Open opens a connection and holds it; false: refused.
	Open() (lb.DestKey, bool, error)
	// Finish closes the connection opened last, and returns once the kernel
	// counts it as inactive.
	Finish() error
}

// Detect finds out by four connections which rules a kernel follows.
//
// The overhead: b, of weight 1, has one inactive connection, its load is 1. a,
// of weight 256 and first in the list, has one active connection: its load is
// 256/256, which wins the tie, or 257/256, which loses. The overload mark: a
// destination with two connections gets an upper threshold of 1 by an edit.
// Only the newer rule takes notice before the next connection is bound.
func Detect(p Prober) (Variant, error) {
	b, a := p.Dests()[0], p.Dests()[1]
	steps := []func() error{
		func() error { return p.Set(lb.Destination{DestKey: b, Weight: 1}) },
		func() error { return expect(p, b) },
		p.Finish,
		func() error { return p.Set(lb.Destination{DestKey: a, Weight: 256}) },
		func() error { return expect(p, a) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Variant{}, fmt.Errorf("detect scheduler variant: %w", err)
		}
	}
	v := Variant{Overhead: ActiveInactive, Overload: OnBind}
	third, ok, err := p.Open()
	if err != nil {
		return Variant{}, fmt.Errorf("detect overhead formula: %w", err)
	}
	if !ok {
		return Variant{}, fmt.Errorf("detect overhead formula: connection refused: %w", ErrInconclusive)
	}
	if third == b {
		v.Overhead = ActiveTotal
	}
	// From here on only the other one, with its one or two connections, is left to choose.
	for _, d := range []lb.Destination{{DestKey: a}, {DestKey: b, Weight: 1, Upper: 1}} {
		if err := p.Set(d); err != nil {
			return Variant{}, fmt.Errorf("detect overload rule: %w", err)
		}
	}
	if _, ok, err = p.Open(); err != nil {
		return Variant{}, fmt.Errorf("detect overload rule: %w", err)
	}
	if !ok {
		v.Overload = OnCrossing
	}
	return v, nil
}

func expect(p Prober, want lb.DestKey) error {
	got, ok, err := p.Open()
	if err != nil {
		return err
	}
	if !ok || got != want {
		return fmt.Errorf("connection went to %v (answered %t), not to %v: %w", got, ok, want, ErrInconclusive)
	}
	return nil
}
