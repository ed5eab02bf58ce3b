package assertions

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lab/handover"
	"github.com/ipvslab/ipvslab/topology"
	"github.com/onsi/gomega/types"
)

// Tenure is a time in which the same directors had a failover group's addresses.
type Tenure struct {
	Group  string
	Active []string // directors that have them and run
	Dead   []string // that have them still, but were killed, stopped or frozen on purpose
	From   time.Duration
	To     time.Duration
}

// String tells it in a line.
func (t Tenure) String() string {
	who := "nobody"
	if len(t.Active) > 0 {
		who = strings.Join(t.Active, " and ")
	}
	if len(t.Dead) > 0 {
		who += " (and " + strings.Join(t.Dead, ", ") + ", which does not run)"
	}
	return fmt.Sprintf("%s from %.3f s to %.3f s: %s", t.Group, t.From.Seconds(), t.To.Seconds(), who)
}

// Split tells whether several directors that run have the addresses at once.
func (t Tenure) Split() bool { return len(t.Active) > 1 }

// Takeover is what was seen of faults: by clients, and of who had the addresses.
type Takeover struct {
	handover.Result
	Tenures []Tenure // in order of time, of each group
}

// StayWithin succeeds if a [Takeover] keeps the limits. Of a time it takes what
// is sure: not while the client itself stood still. It fails as well if that
// leaves nothing to be judged ([handover.Result.Doubt]). Its failure lists each
// limit that was not kept, with the timeline as evidence.
func StayWithin(limits topology.Handover) types.GomegaMatcher {
	return &stayWithin{limits: limits}
}

type stayWithin struct {
	limits topology.Handover
	broken []string
}

// Match implements gomega's matcher.
func (m *stayWithin) Match(actual any) (bool, error) {
	t, ok := actual.(Takeover)
	if !ok {
		return false, fmt.Errorf("StayWithin expects an assertions.Takeover, not a %T", actual)
	}
	m.broken = nil
	m.clients(t)
	m.directors(t)
	doubt := t.Doubt()
	m.breaks(doubt != "", "%s; test again, on a machine with less to do", doubt)
	return len(m.broken) == 0, nil
}

func (m *stayWithin) breaks(is bool, format string, args ...any) {
	if is {
		m.broken = append(m.broken, fmt.Sprintf(format, args...))
	}
}

func (m *stayWithin) clients(t Takeover) {
	gap := t.Gap
	m.breaks(m.limits.Gap > 0 && gap.Net() > m.limits.Gap, "the gap is %s; at most %v are allowed", gap, m.limits.Gap)
	if most := m.limits.Lost; most != nil {
		m.breaks(t.Lost > *most, "%d were lost, new connections %d and requests of streams %d; at most %d are allowed",
			t.Lost, t.New.Lost(), t.Streams.Lost, *most)
	}
	s := t.Streams
	switch m.limits.Streams {
	case "continue":
		m.breaks(s.Broken > 0, "of %d streams %d did not go on (%v)", s.Opened, s.Broken, s.Ends)
	case "lost":
		m.breaks(s.Continued > 0, "of %d streams %d went on; all were to be lost", s.Opened, s.Continued)
	}
	m.breaks(m.limits.Streams != "" && s.Opened == 0, "there was no stream")
}

func (m *stayWithin) directors(t Takeover) {
	if m.limits.Active != "" {
		last := map[string]Tenure{}
		for _, tenure := range t.Tenures {
			last[tenure.Group] = tenure
		}
		ok := false
		for _, tenure := range last {
			ok = ok || slices.Equal(tenure.Active, []string{m.limits.Active})
		}
		m.breaks(!ok, "%s was to have the addresses in the end, alone", m.limits.Active)
	}
	if m.limits.TwoActive == nil {
		return
	}
	for _, tenure := range t.Tenures {
		length := tenure.To - tenure.From - time.Duration(t.StoodStill(handover.Millis(tenure.From), handover.Millis(tenure.To)))
		m.breaks(tenure.Split() && length > *m.limits.TwoActive, "split brain: %s had the addresses of %s at the same time for %v, at most %v are allowed",
			strings.Join(tenure.Active, " and "), tenure.Group, length.Round(time.Millisecond), *m.limits.TwoActive)
	}
}

// FailureMessage implements gomega's matcher.
func (m *stayWithin) FailureMessage(actual any) string {
	return strings.Join(m.broken, "\n") + "\n\n" + evidence(actual.(Takeover))
}

// NegatedFailureMessage implements gomega's matcher.
func (m *stayWithin) NegatedFailureMessage(actual any) string {
	return "every limit was kept\n\n" + evidence(actual.(Takeover))
}

func evidence(t Takeover) string {
	var b strings.Builder
	_ = t.Summary(&b) // a Builder takes all
	for _, tenure := range t.Tenures {
		fmt.Fprintf(&b, "%s\n", tenure)
	}
	return strings.TrimRight(b.String(), "\n")
}
