package scenarios

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/internal/standstill"
)

// A verdict must not come of a busy machine. In a lab with nothing wrong no
// spec ever waits out its time, so that may be long; once a spec of a lab has
// failed, the others need not take as long to say the same.
const (
	patientVisit  = 20 * time.Second
	hastyVisit    = 3 * time.Second // a lost SYN may be sent again
	patientSettle = 30 * time.Second
	hastySettle   = 5 * time.Second
)

// visitTimeout is of one connection.
func (st *stage) visitTimeout() time.Duration {
	if st.failed {
		return hastyVisit
	}
	return patientVisit
}

// settleTimeout is for what the kernel does soon, but not at once.
func (st *stage) settleTimeout() time.Duration {
	if st.failed {
		return hastySettle
	}
	return patientSettle
}

// pulse adds up by how much this process was given the processor too late.
type pulse struct{ late atomic.Int64 }

const (
	// busyShare of a spec's time is worth a word: a quiet machine has a hundredth.
	busyShare = 0.2
	// busyLeast is not worth a word, however short the spec.
	busyLeast = 200 * time.Millisecond
	// pulseInterval is short enough for that. A beat is not free in a guest, where
	// each look at the clock is a system call that another process has to carry out.
	pulseInterval = 50 * time.Millisecond
)

func startPulse(ctx context.Context) *pulse {
	p := &pulse{}
	go standstill.Watch(ctx, time.Now(), pulseInterval, func(from, to time.Duration) { p.late.Add(int64(to - from)) })
	return p
}

// watch begins to measure; what it returns tells a failure's reader if the
// machine was too busy to be judged by.
func (p *pulse) watch() (tell func()) {
	began, before := time.Now(), p.late.Load()
	return func() {
		took, late := time.Since(began), time.Duration(p.late.Load()-before)
		if text := busy(took, late); text != "" {
			ginkgo.AddReportEntry(noteEntry, text, ginkgo.ReportEntryVisibilityFailureOrVerbose)
		}
	}
}

func busy(took, late time.Duration) string {
	if late < max(busyLeast, time.Duration(busyShare*float64(took))) {
		return ""
	}
	return fmt.Sprintf("the machine was busy: for %.1f of %.1f s this process was not given the processor; what is said about time may be due to that",
		late.Seconds(), took.Seconds())
}
