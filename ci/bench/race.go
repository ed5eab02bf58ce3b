package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// contender is one way to do what a figure is about.
type contender struct {
	Name string
	// Run does it once and tells how long that took, without what it does to clean up.
	Run func(context.Context) (time.Duration, error)
}

// timing is what became of a contender: its times by round, or why there are none.
type timing struct {
	Name  string          `json:"name"`
	Times []time.Duration `json:"times,omitempty"`
	Error string          `json:"error,omitempty"`
}

// race runs the contenders in turns: A B C, C B A, A B C... A first round,
// which warms caches, does not count. A contender that fails is out; the others go on.
func race(ctx context.Context, rounds int, contenders []contender) []timing {
	timings := make([]timing, len(contenders))
	order := make([]int, len(contenders))
	for i, c := range contenders {
		timings[i].Name, order[i] = c.Name, i
	}
	for round := range rounds + 1 {
		for _, i := range order {
			t := &timings[i]
			if t.Error != "" || ctx.Err() != nil {
				continue
			}
			took, err := contenders[i].Run(ctx)
			switch {
			case err != nil:
				t.Error, t.Times = err.Error(), nil
			case round > 0:
				t.Times = append(t.Times, took)
			}
		}
		slices.Reverse(order)
	}
	return timings
}

// median of an empty list is zero.
func median[T time.Duration | float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// errNoPair says that a ratio lacks one of its sides.
var errNoPair = errors.New("one side could not be measured")

// ratios divides round by round.
func ratios(ours, theirs timing) ([]float64, error) {
	if len(ours.Times) == 0 || len(ours.Times) != len(theirs.Times) {
		return nil, fmt.Errorf("compare %s with %s: %w", ours.Name, theirs.Name, errNoPair)
	}
	var r []float64
	for i, t := range ours.Times {
		r = append(r, float64(t)/float64(theirs.Times[i]))
	}
	return r, nil
}
