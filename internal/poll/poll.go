// Package poll says when to look again at what does not tell when it comes about.
package poll

import "time"

// The first looks are as far apart as most things take that the kernel does by
// itself; nothing is looked at more rarely than a person notices.
const (
	shortest = 2 * time.Millisecond
	longest  = 50 * time.Millisecond
)

// Pace is a wait that looks again and again, and ever more rarely the longer it
// has lasted: looking costs the processor that what is waited for may want, in a
// guest ten times as much as elsewhere.
type Pace struct{ began time.Time }

// Start begins a wait.
func Start() Pace { return Pace{began: time.Now()} }

// Again receives when it is time for the next look: when a tenth of what was
// waited up to now has passed, but at least 2 ms and at most 50 ms.
func (p Pace) Again() <-chan time.Time { return time.After(pause(time.Since(p.began))) }

func pause(waited time.Duration) time.Duration {
	return min(max(waited/10, shortest), longest)
}
