package handover

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lab/traffic"
)

// Millis is a duration that is milliseconds in JSON.
type Millis time.Duration

// MarshalJSON writes milliseconds, with microseconds behind the point.
func (m Millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(time.Duration(m).Seconds()*1e6) / 1e3)
}

// UnmarshalJSON reads them back.
func (m *Millis) UnmarshalJSON(data []byte) error {
	var ms float64
	err := json.Unmarshal(data, &ms)
	*m = Millis(ms * 1e6)
	return err
}

// Gap is a time in which nobody was served: from the last answer (or the
// beginning) to the next. Open: none came any more.
type Gap struct {
	From   Millis `json:"fromMs"`
	To     Millis `json:"toMs"`
	Length Millis `json:"lengthMs"`
	Open   bool   `json:"open,omitempty"`
	// Still is how much of it the client itself stood still.
	Still Millis `json:"stillMs,omitempty"`
}

// Mark is when an event happened.
type Mark struct {
	Name  string `json:"name"`
	Due   Millis `json:"dueMs"` // when it was to happen
	At    Millis `json:"atMs"`
	Took  Millis `json:"tookMs"` // until it was read back
	Error string `json:"error,omitempty"`
}

// Fresh is what became of the new connections.
type Fresh struct {
	Opened     int            `json:"opened"`
	Answered   int            `json:"answered"`
	Refused    int            `json:"refused"`
	Reset      int            `json:"reset"`
	TimedOut   int            `json:"timeout"`
	Failed     int            `json:"failed"`           // anything else
	Errors     map[string]int `json:"errors,omitempty"` // of those not answered, by kind
	Identities map[string]int `json:"identities"`       // who answered
	Gap        Gap            `json:"gap"`              // the longest without an answer to any
	Latency    Millis         `json:"latencyMs"`        // median of those answered
}

// Lost is how many were not answered.
func (f Fresh) Lost() int { return f.Opened - f.Answered }

// Streams are what became of the streams.
type Streams struct {
	Opened     int            `json:"opened"`
	Continued  int            `json:"continued"`      // every request was answered (udp: the last)
	Broken     int            `json:"broken"`         // the others
	Ends       map[string]int `json:"ends,omitempty"` // of those broken: reset, closed, silent, ...
	Requests   int            `json:"requests"`
	Lost       int            `json:"lost"`       // requests without an answer
	Identities map[string]int `json:"identities"` // who answers, at the end
	Gap        Gap            `json:"gap"`        // the longest without an answer on any
	// Longest is the longest time that one stream waited for an answer.
	Longest Millis `json:"longestMs"`
}

// Slot is a part of the run: the answers that came in it.
type Slot struct {
	At         Millis         `json:"atMs"`
	New        int            `json:"new"`
	Identities map[string]int `json:"identities,omitempty"` // of New
	Streams    int            `json:"streams"`
}

// Result is what the clients saw.
type Result struct {
	To       netip.AddrPort `json:"to"`
	Protocol string         `json:"protocol"`
	Rate     float64        `json:"rate"` // new connections per second
	Every    Millis         `json:"everyMs"`
	Duration Millis         `json:"durationMs"`
	// Lost is everything that was asked and never answered: new connections,
	// and requests on streams.
	Lost    int     `json:"lost"`
	Gap     Gap     `json:"gap"`  // the one with the greatest [Gap.Net]
	Gaps    []Gap   `json:"gaps"` // all that are much longer than answers are apart, in order
	New     Fresh   `json:"new"`
	Streams Streams `json:"streams"`
	Marks   []Mark  `json:"marks,omitempty"`
	// Standstills are when the client itself was not given the processor, in order.
	Standstills []Standstill `json:"standstills,omitempty"`
	// Timeline is the run in equal parts.
	Timeline []Slot `json:"timeline"`
}

// slots is how many parts the timeline has.
const slots = 60

// result sums up.
func (c *client) result(fresh traffic.Result, marks []Mark, still []Standstill) Result {
	r := Result{
		Standstills: still,
		To:          c.To, Protocol: c.Protocol, Rate: c.Rate, Every: Millis(c.Every), Duration: Millis(c.Duration), Marks: marks,
		New:     Fresh{Identities: map[string]int{}},
		Streams: Streams{Opened: len(c.streams), Ends: map[string]int{}, Identities: map[string]int{}},
	}
	r.Timeline = make([]Slot, slots)
	for i := range r.Timeline {
		r.Timeline[i].At = Millis(c.Duration * time.Duration(i) / slots)
		r.Timeline[i].Identities = map[string]int{}
	}
	newTimes := r.addFresh(fresh)
	streamTimes := r.addStreams(c.streams)
	all := slices.Concat(newTimes, streamTimes)
	r.Lost = r.New.Lost() + r.Streams.Lost
	gaps := between(all, c.Duration, still)
	r.Gap = longest(gaps)
	least := max(5*c.period(), minGap)
	r.Gaps = slices.DeleteFunc(gaps, func(g Gap) bool { return time.Duration(g.Length) < least })
	if c.Rate > 0 {
		r.New.Gap = longest(between(newTimes, c.Duration, still))
	}
	if len(c.streams) > 0 {
		r.Streams.Gap = longest(between(streamTimes, c.Duration, still))
	}
	return r
}

// addFresh adds the new connections and returns when answers came.
func (r *Result) addFresh(fresh traffic.Result) []time.Duration {
	n := &r.New
	n.Opened, n.Answered, n.Errors = fresh.Opened, fresh.Answered(), fresh.Errors
	n.Refused, n.Reset, n.TimedOut = fresh.Outcomes[traffic.Refused], fresh.Outcomes[traffic.Reset], fresh.Outcomes[traffic.TimedOut]
	n.Failed = n.Opened - n.Answered - n.Refused - n.Reset - n.TimedOut
	if n.Answered > 0 {
		n.Latency = Millis(fresh.Latency.Percentile(50))
	}
	var times []time.Duration
	for _, conn := range fresh.Connections {
		if conn.Outcome != traffic.Answered {
			continue
		}
		n.Identities[conn.Identity]++
		at := conn.Opened + conn.Latency
		times = append(times, at)
		if s := r.slot(at); s != nil {
			s.New++
			s.Identities[conn.Identity]++
		}
	}
	return times
}

// addStreams adds the streams and returns when answers came.
func (r *Result) addStreams(streams []*stream) []time.Duration {
	var times []time.Duration
	for _, s := range streams {
		sent := int(max(s.sent.Load(), 0))
		r.Streams.Requests += sent
		r.Streams.Lost += max(sent-len(s.served), 0)
		if s.end == "" {
			r.Streams.Continued++
			r.Streams.Identities[s.identity]++
		} else {
			r.Streams.Broken++
			r.Streams.Ends[s.end]++
		}
		for i, at := range s.served {
			if i > 0 {
				r.Streams.Longest = max(r.Streams.Longest, Millis(at-s.served[i-1]))
			}
			if slot := r.slot(at); slot != nil {
				slot.Streams++
			}
		}
		times = append(times, s.served...)
	}
	return times
}

// slot finds a moment's part of the timeline; nil after the end.
func (r *Result) slot(at time.Duration) *Slot {
	i := int(at * slots / time.Duration(r.Duration))
	if i < 0 || i >= slots {
		return nil
	}
	return &r.Timeline[i]
}

// minGap is what a scheduler may be late by without anything being wrong.
const minGap = 20 * time.Millisecond

// between lists the times between answers, from the beginning to the end.
func between(times []time.Duration, end time.Duration, still []Standstill) []Gap {
	slices.Sort(times)
	var out []Gap
	from := time.Duration(0)
	for _, to := range times {
		out = append(out, Gap{From: Millis(from), To: Millis(to)})
		from = to
	}
	if from < end {
		out = append(out, Gap{From: Millis(from), To: Millis(end), Open: true})
	}
	for i, g := range out {
		out[i].Length, out[i].Still = g.To-g.From, stoodStill(still, g.From, g.To)
	}
	return out
}
