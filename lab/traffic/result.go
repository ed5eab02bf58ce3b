package traffic

import (
	"net/netip"
	"time"
)

// Connection is what became of one connection (or UDP exchange).
type Connection struct {
	Index    int            `json:"index"` // order of opening, from 0
	Source   netip.AddrPort `json:"source,omitzero"`
	Identity string         `json:"identity,omitempty"` // who answered
	Outcome  Outcome        `json:"outcome"`
	Kind     string         `json:"kind,omitempty"`   // of error; see Classify
	Opened   time.Duration  `json:"openedNs"`         // since the session began
	Latency  time.Duration  `json:"latencyNs"`        // from opening to the outcome
	Requests int            `json:"requests"`         // answered
	Held     bool           `json:"held,omitempty"`   // still open
	Closed   CloseMode      `json:"closed,omitempty"` // how it was closed after its answer
}

// Result is what a client saw.
type Result struct {
	Protocol    string          `json:"protocol"`
	To          netip.AddrPort  `json:"to"`
	Connections []Connection    `json:"connections,omitempty"` // by index; none with Spec.SumsOnly
	Opened      int             `json:"opened"`
	Outcomes    map[Outcome]int `json:"outcomes"`
	Identities  map[string]int  `json:"identities"`       // connections answered, by who did
	Errors      map[string]int  `json:"errors,omitempty"` // connections not answered, by kind
	Requests    int             `json:"requests"`
	Bytes       int64           `json:"bytes"` // received, headers included
	Elapsed     time.Duration   `json:"elapsedNs"`
	Latency     Histogram       `json:"latency"` // of answered connections
}

func newResult(s Spec) Result {
	return Result{
		Protocol: s.Protocol, To: s.To,
		Outcomes: map[Outcome]int{}, Identities: map[string]int{}, Errors: map[string]int{},
	}
}

// add counts a finished connection.
func (r *Result) add(c *Connection) {
	r.Outcomes[c.Outcome]++
	r.Requests += c.Requests
	if c.Outcome == Answered {
		r.Identities[c.Identity]++
		r.Latency.Add(c.Latency)
	} else if c.Kind != "" {
		r.Errors[c.Kind]++
	}
}

// Sequence lists the identities in order of opening; "" where none answered.
func (r Result) Sequence() []string {
	seq := make([]string, len(r.Connections))
	for i, c := range r.Connections {
		seq[i] = c.Identity
	}
	return seq
}

// Answered is the number of connections answered.
func (r Result) Answered() int { return r.Outcomes[Answered] }

// PerSecond is the number of connections answered per second.
func (r Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Answered()) / r.Elapsed.Seconds()
}
