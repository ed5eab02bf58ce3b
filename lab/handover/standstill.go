package handover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/standstill"
)

// Standstill is a time in which the client's own process was not given the
// processor: who was served then is noticed late.
type Standstill struct {
	From Millis `json:"fromMs"`
	To   Millis `json:"toMs"`
}

// watchInterval is how much of a standstill is not noticed at most.
const watchInterval = 10 * time.Millisecond

// standstills watches until the context ends.
func standstills(ctx context.Context, began time.Time) (all []Standstill) {
	standstill.Watch(ctx, began, watchInterval, func(from, to time.Duration) { all = append(all, Standstill{Millis(from), Millis(to)}) })
	return all
}

// StoodStill is how much of a time of the run the client stood still.
func (r Result) StoodStill(from, to Millis) Millis { return stoodStill(r.Standstills, from, to) }

func stoodStill(all []Standstill, from, to Millis) (sum Millis) {
	for _, s := range all {
		sum += max(0, min(s.To, to)-max(s.From, from))
	}
	return sum
}

// Doubt tells why the result can't show that a limit was kept; empty: it can.
// Either an event that was due in the run came after its end, or the client
// stood still for more than half of it.
func (r Result) Doubt() string {
	for _, m := range r.Marks {
		if m.Due < r.Duration && m.At >= r.Duration {
			return fmt.Sprintf("nothing can be said: %s was due at %s and came at %s, after the end", m.Name, m.Due.seconds(), m.At.seconds())
		}
	}
	if still := r.StoodStill(0, r.Duration); still > r.Duration/2 {
		return fmt.Sprintf("nothing can be said: for %s of %s the client itself stood still", still.seconds(), r.Duration.seconds())
	}
	return ""
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
