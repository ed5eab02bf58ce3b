// Package standstill notices when this process is not given the processor, as
// on a busy machine, or in a virtual one whose host is: what it says of such a
// time is not sure, for it sees everything late.
package standstill

import (
	"context"
	"time"
)

// Least is what every process has to wait for its turn at times, and is not told.
const Least = 20 * time.Millisecond

// Watch asks for the processor at each interval until the context ends, and tells
// of each time of [Least] or more that it was not given it. Times count from
// began. Up to an interval of such a time is not told, for none had been asked for.
func Watch(ctx context.Context, began time.Time, interval time.Duration, tell func(from, to time.Duration)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := time.Duration(0)
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true // perhaps at the end of such a time
		case <-tick.C:
		}
		now := time.Since(began)
		if due := last + interval; now-due >= Least {
			tell(due, now)
		}
		last = now
	}
}
