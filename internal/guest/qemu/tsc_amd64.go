package qemu

import (
	"slices"
	"sync"
	"time"
)

// rdtsc reads the processor's time stamp counter, which TCG hands on to the
// guest as it is.
func rdtsc() uint64

// tscKHz is the counter's frequency in kHz, measured once against the
// monotonic clock: the median of a few short spans, so that one preemption
// does no harm. The guest keeps its time by it; it is good to about 1 in 10^4.
var tscKHz = sync.OnceValue(func() uint64 {
	const spans, span = 5, 3 * time.Millisecond
	var rates []uint64
	for range spans {
		start, first := time.Now(), rdtsc()
		for time.Since(start) < span {
			// Sleeping would make the ends of the span less exact.
		}
		ticks, took := rdtsc()-first, time.Since(start)
		rates = append(rates, ticks*uint64(time.Millisecond)/uint64(took))
	}
	slices.Sort(rates)
	return rates[spans/2]
})
