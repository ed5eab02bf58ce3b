package traffic

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
//	60 http connections to 192.168.1.117:80 in 31 ms (1,935 per second)
//
//	answered by   connections
//	rs1                    30   50.0 %  ####################
//	rs2                    30   50.0 %  ####################
//
//	latency       min 201 µs   mean 402 µs   50 % 390 µs   90 % 512 µs   99 % 1.02 ms   max 1.1 ms
func (r Result) Summary(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s connections to %s in %s (%s per second)\n",
		thousands(r.Opened), r.Protocol, r.To, short(r.Elapsed), thousands(int(r.PerSecond())))
	if r.Requests > r.Answered() {
		fmt.Fprintf(&b, "%s requests answered\n", thousands(r.Requests))
	}
	r.table(&b, "answered by", r.Identities)
	r.table(&b, "not answered", r.Errors)
	if n := r.Outcomes[HalfOpen]; n > 0 {
		fmt.Fprintf(&b, "\n%s left half-open\n", thousands(n))
	}
	if r.Latency.Count() > 0 {
		fmt.Fprintf(&b, "\nlatency       min %s   mean %s", short(r.Latency.Min()), short(r.Latency.Mean()))
		for _, p := range []float64{50, 90, 99} {
			fmt.Fprintf(&b, "   %g %% %s", p, short(r.Latency.Percentile(p)))
		}
		fmt.Fprintf(&b, "   max %s\n", short(r.Latency.Max()))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}

// table lists counts by name, the largest first.
func (r Result) table(b *strings.Builder, title string, counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	names := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(cmp.Compare(counts[y], counts[x]), strings.Compare(x, y))
	})
	wide := len(title)
	for _, n := range names {
		wide = max(wide, len(n))
	}
	fmt.Fprintf(b, "\n%-*s   connections\n", wide, title)
	for _, n := range names {
		share := float64(counts[n]) / float64(max(r.Opened, 1))
		label := n
		if label == "" {
			label = "(no name)"
		}
		line := fmt.Sprintf("%-*s   %11s  %5.1f %%  %s", wide, label, thousands(counts[n]), 100*share,
			strings.Repeat("#", int(40*share+0.5)))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	s := d.Round(unit).String()
	for i, c := range s { // a space before the unit
		if (c < '0' || c > '9') && c != '.' {
			return s[:i] + " " + s[i:]
		}
	}
	return s
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
