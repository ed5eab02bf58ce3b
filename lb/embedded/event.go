package embedded

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"
)

// Kind is what an event is about.
type Kind string

// The kinds of event.
const (
	Started  Kind = "started"  // it works, and answers on its control socket
	Table    Kind = "table"    // the table was changed, or could not be
	Reloaded Kind = "reloaded" // a new configuration is in force
	Turned   Kind = "state"    // a failover group goes from From to To: initialize, backup, active
	Checked  Kind = "check"    // a real server goes from From to To: up, down
	Quorum   Kind = "quorum"   // a service's quorum goes from From to To: gained, lost
	Notice   Kind = "notice"   // something about a failover group is worth knowing
	Failed   Kind = "fault"    // something about a failover group or its synchronisation does not work
	Synced   Kind = "sync"     // the sync daemons that run have changed
	Stopping Kind = "stopping" // a clean stop has begun
	Stopped  Kind = "stopped"  // a clean stop is complete
)

// Event is something that changed. Fields that don't belong to its kind are empty.
type Event struct {
	Seq  uint64    `json:"seq"` // counted from 1 in the life of one process
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	Kind Kind      `json:"kind"`

	Group      string `json:"group,omitempty"`      // failover group
	Service    string `json:"service,omitempty"`    // virtual service
	RealServer string `json:"realServer,omitempty"` // its node, or its address
	From       string `json:"from,omitempty"`       // the state before,
	To         string `json:"to,omitempty"`         // and after
	Text       string `json:"text,omitempty"`       // for people: what was done, or why
	Error      string `json:"error,omitempty"`      // it did not work
}

// keptEvents bounds what a director remembers; its log has everything.
const keptEvents = 10_000

// journal numbers events, writes them to the log and keeps the latest.
type journal struct {
	node string

	mu     sync.Mutex
	log    io.Writer
	events []Event
	seq    uint64
	more   chan struct{} // closed when there is another event
}

func newJournal(node string, log io.Writer) *journal {
	if log == nil {
		log = io.Discard
	}
	return &journal{node: node, log: log, more: make(chan struct{})}
}

// add completes an event and publishes it.
func (j *journal) add(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq, e.Node = j.seq, j.node
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if len(j.events) == keptEvents {
		j.events = slices.Delete(j.events, 0, keptEvents/2)
	}
	j.events = append(j.events, e)
	close(j.more)
	j.more = make(chan struct{})
	line, err := json.Marshal(e)
	if err == nil {
		// A log that can't be written must not stop a director.
		_, _ = j.log.Write(append(line, '\n'))
	}
}

// since gives the events after number seq, waiting for one until ctx ends.
func (j *journal) since(ctx context.Context, seq uint64) []Event {
	for {
		j.mu.Lock()
		i, _ := slices.BinarySearchFunc(j.events, seq+1, func(e Event, n uint64) int { return int(e.Seq) - int(n) })
		events, more := slices.Clone(j.events[i:]), j.more
		j.mu.Unlock()
		if len(events) > 0 {
			return events
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		}
	}
}

// last is the number of the latest event.
func (j *journal) last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
}
