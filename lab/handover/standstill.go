package handover

import (
	"context"
	"slices"
	"time"
)

// Standstill is a time in which the client's own process was not given the
// processor, as on a busy machine, or in a virtual one whose host is. Nothing
// that it says of such a time is sure: who was served then is noticed late.
type Standstill struct {
	From Millis `json:"fromMs"`
	To   Millis `json:"toMs"`
}

const (
	pulseInterval = 10 * time.Millisecond
	// leastStandstill is what every process has to wait for its turn at times.
	leastStandstill = 20 * time.Millisecond
)

// standstills asks for the processor now and then until the context ends, and
// tells when it was not given in time. Times count from began.
func standstills(ctx context.Context, began time.Time) []Standstill {
	var all []Standstill
	tick := time.NewTicker(pulseInterval)
	defer tick.Stop()
	last := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
		now := time.Since(began)
		if due := last + pulseInterval; now-due >= leastStandstill {
			all = append(all, Standstill{Millis(due), Millis(now)})
		}
		last = now
	}
}

// StoodStill is how much of a time of the run the client stood still.
func (r Result) StoodStill(from, to Millis) Millis { return stoodStill(r.Standstills, from, to) }

func stoodStill(all []Standstill, from, to Millis) (sum Millis) {
	for _, s := range all {
		sum += max(0, min(s.To, to)-max(s.From, from))
	}
	return sum
}

// Net is the gap's length without the time that the client itself stood still:
// what is sure of it.
func (g Gap) Net() time.Duration { return time.Duration(g.Length - g.Still) }

// longest is the gap with the most that is sure.
func longest(all []Gap) Gap {
	if len(all) == 0 {
		return Gap{}
	}
	return slices.MaxFunc(all, func(a, b Gap) int { return int(a.Net() - b.Net()) })
}
