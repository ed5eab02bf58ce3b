package handover

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Summary writes what a person wants to know, such as
//
//	http to 192.168.1.100:80 for 10s: 100 new connections a second, 10 streams with a request every 20ms
//
//	             0s                                                       10s
//	new          ###############....#########################################
//	  real1      ###############    #########################################
//	  real2      ###############    #########################################
//	streams      ###############.....+#######################################
//	events                      ^
//
//	at 2.502 s   master link-down
//	gap          365 ms, from 2.498 s to 2.863 s
//	new          1,000 opened, 963 answered (real1 481, real2 482), 37 timeout
//	streams      10 opened, 10 went on, 0 broken; 5,000 requests, 0 lost
//
// In the timeline # is half or more of the answers that were due, + is some, a
// point is none.
func (r Result) Summary(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s to %s for %v:", r.Protocol, r.To, time.Duration(r.Duration))
	var does []string
	if r.Rate > 0 {
		does = append(does, fmt.Sprintf("%g new connections a second", r.Rate))
	}
	if r.Streams.Opened > 0 {
		does = append(does, fmt.Sprintf("%d streams with a request every %v", r.Streams.Opened, time.Duration(r.Every)))
	}
	fmt.Fprintf(&b, " %s\n\n", strings.Join(does, ", "))
	r.timeline(&b)
	r.figures(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}

const labelWidth = 12

// timeline draws the run.
func (r Result) timeline(b *strings.Builder) {
	end := time.Duration(r.Duration).String()
	fmt.Fprintf(b, "%-*s 0s%*s\n", labelWidth, "", slots-2, end)
	row := func(label string, due float64, count func(Slot) int) {
		bar := make([]byte, len(r.Timeline))
		for i, s := range r.Timeline {
			switch n := count(s); {
			case n == 0:
				bar[i] = '.'
			case float64(n) < due/2:
				bar[i] = '+'
			default:
				bar[i] = '#'
			}
		}
		fmt.Fprintf(b, "%-*s %s\n", labelWidth, label, bar)
	}
	part := time.Duration(r.Duration).Seconds() / slots
	if r.Rate > 0 {
		row("new", r.Rate*part, func(s Slot) int { return s.New })
		if len(r.New.Identities) <= mostRows {
			for _, id := range slices.Sorted(maps.Keys(r.New.Identities)) {
				row("  "+cut(id), 0, func(s Slot) int { return s.Identities[id] })
			}
		}
	}
	if n := r.Streams.Opened; n > 0 {
		row("streams", float64(n)*part/time.Duration(r.Every).Seconds(), func(s Slot) int { return s.Streams })
	}
	if len(r.Marks) == 0 {
		return
	}
	line := []byte(strings.Repeat(" ", slots))
	for _, m := range r.Marks {
		line[min(int(int64(m.At)*slots/int64(r.Duration)), slots-1)] = '^'
	}
	fmt.Fprintf(b, "%-*s %s\n", labelWidth, "events", strings.TrimRight(string(line), " "))
}

// mostRows is how many real servers get a row of their own.
const mostRows = 12

func cut(s string) string { return s[:min(len(s), labelWidth-2)] }

func (r Result) figures(b *strings.Builder) {
	b.WriteString("\n")
	say := func(label, format string, args ...any) {
		fmt.Fprintf(b, "%-*s %s\n", labelWidth, label, fmt.Sprintf(format, args...))
	}
	for _, m := range r.Marks {
		text := m.Name
		if m.Took >= slowEvent {
			text += fmt.Sprintf(" (took %s)", m.Took)
		}
		if m.Error != "" {
			text += ": FAILED: " + m.Error
		}
		say("at "+m.At.seconds(), "%s", text)
	}
	shown := r.longestGaps(mostGaps)
	for _, g := range shown {
		say("gap", "%s", g)
	}
	if n := len(r.Gaps) - len(shown); n > 0 {
		say("", "and %d shorter ones of %v or more", n, minGap)
	}
	if len(r.Gaps) == 0 {
		say("gap", "none; answers were at most %s apart", r.Gap.Length.millis())
	}
	if r.Rate > 0 {
		n := r.New
		text := fmt.Sprintf("%d opened, %d answered%s", n.Opened, n.Answered, listed(n.Identities))
		for _, c := range []struct {
			n    int
			what string
		}{{n.Refused, "refused"}, {n.Reset, "reset"}, {n.TimedOut, "timeout"}, {n.Failed, "failed"}} {
			if c.n > 0 {
				text += fmt.Sprintf(", %d %s", c.n, c.what)
			}
		}
		say("new", "%s", text)
	}
	if s := r.Streams; s.Opened > 0 {
		say("streams", "%d opened, %d went on, %d broken%s; %d requests, %d lost; the longest wait for an answer %s",
			s.Opened, s.Continued, s.Broken, listed(s.Ends), s.Requests, s.Lost, s.Longest.millis())
	}
	if doubt := r.Doubt(); doubt != "" {
		say("doubt", "%s", doubt)
	}
}

// slowEvent is an event whose duration is worth telling: the gap has to do with it.
const slowEvent = Millis(100 * time.Millisecond)

// mostGaps is how many gaps the summary lists.
const mostGaps = 5

// longestGaps are the n longest gaps, in order of time.
func (r Result) longestGaps(n int) []Gap {
	all := slices.Clone(r.Gaps)
	slices.SortStableFunc(all, func(a, b Gap) int { return cmp.Compare(b.Length, a.Length) })
	all = all[:min(n, len(all))]
	slices.SortFunc(all, func(a, b Gap) int { return cmp.Compare(a.From, b.From) })
	return all
}

// String is the gap as the summary says it.
func (g Gap) String() string {
	text := fmt.Sprintf("%s, from %s to %s", g.Length.millis(), g.From.seconds(), g.To.seconds())
	if g.Open {
		text = fmt.Sprintf("from %s to the end: nobody was served any more", g.From.seconds())
	}
	if g.Still > 0 {
		text += fmt.Sprintf(" (for %s of it the client itself stood still)", g.Still.millis())
	}
	return text
}

func (m Millis) seconds() string { return fmt.Sprintf("%.3f s", time.Duration(m).Seconds()) }
func (m Millis) millis() string  { return fmt.Sprintf("%.0f ms", time.Duration(m).Seconds()*1e3) }

// String is in milliseconds.
func (m Millis) String() string { return m.millis() }

// listed is counts by name, the largest first, in parentheses.
func listed(counts map[string]int) string {
	if len(counts) == 0 {
		return ""
	}
	names := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(cmp.Compare(counts[y], counts[x]), strings.Compare(x, y))
	})
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %d", cmp.Or(n, "(no name)"), counts[n])
	}
	return " (" + strings.Join(names, ", ") + ")"
}
