package health_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"pgregory.net/rapid"
)

// TestRandomRuns holds random runs against what the documentation says, looked
// up in the whole history instead of kept in a state.
func TestRandomRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := check(func(c *health.Check) {
			c.Rise = rapid.IntRange(1, 3).Draw(t, "rise")
			c.Fall = rapid.IntRange(1, 3).Draw(t, "fall")
			c.Alpha = rapid.Bool().Draw(t, "alpha")
			c.Inhibit = rapid.Bool().Draw(t, "inhibit")
		})
		var weights []int32
		for range rapid.IntRange(1, 4).Draw(t, "servers") {
			weights = append(weights, int32(rapid.IntRange(0, 3).Draw(t, "weight")))
		}
		s := web(c, weights...)
		s.Quorum = rapid.IntRange(1, 6).Draw(t, "quorum")
		s.Hysteresis = rapid.IntRange(0, s.Quorum-1).Draw(t, "hysteresis")
		if rapid.Bool().Draw(t, "with a sorry server") {
			s.Sorry = sorry(rapid.Bool().Draw(t, "inhibited"))
		}
		m := health.NewMonitor([]health.Service{s}, start, health.Options{})
		history := make([][]bool, len(weights))
		quorum := hasQuorum(s, history, true)
		now := start
		for range rapid.IntRange(0, 60).Draw(t, "checks") {
			if next := m.Next(); next.After(now) {
				now = next
			}
			for _, p := range m.Due(now) {
				i := int(p.Server.Addr.As4()[3]) - 1
				var failure error
				if rapid.Bool().Draw(t, "fails") {
					failure = errors.New("failed")
				}
				was := isUp(c, history[i])
				history[i] = append(history[i], failure == nil)
				had := quorum
				quorum = hasQuorum(s, history, had)
				var want []health.EventKind
				if is := isUp(c, history[i]); is != was {
					want = append(want, map[bool]health.EventKind{true: health.Up, false: health.Down}[is])
				}
				if quorum != had {
					want = append(want, map[bool]health.EventKind{true: health.QuorumGained, false: health.QuorumLost}[quorum])
				}
				var got []health.EventKind
				for _, e := range m.Result(now, p, failure) {
					got = append(got, e.Kind)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("after %v of server %d: events %v, want %v", history[i], i+1, got, want)
				}
			}
			if got, want := fmt.Sprint(m.Services()[0].Destinations), fmt.Sprint(wanted(s, history, quorum)); got != want {
				t.Fatalf("after %v, quorum %v: table\n%s, want\n%s", history, quorum, got, want)
			}
			if m.Next().After(now.Add(c.Interval)) || m.Next().Before(now.Add(min(c.DelayBeforeRetry, time.Second))) {
				t.Fatalf("the next check is at %v, now is %v", m.Next(), now)
			}
		}
	})
}

// isUp goes through a server's whole history: it turns when the latest results
// since it turned last, as many as rise or fall says, are all against it.
func isUp(c *health.Check, history []bool) bool {
	up, turned := !c.Alpha, 0
	for i := range history {
		enough := c.Rise
		if up {
			enough = c.Fall
		}
		if i+1-turned >= enough && !slices.Contains(history[i+1-enough:i+1], up) {
			up, turned = !up, i+1
		}
	}
	return up
}

func hasQuorum(s health.Service, history [][]bool, had bool) bool {
	sum := 0
	for i, d := range s.Spec.Destinations {
		if isUp(s.Check, history[i]) {
			sum += int(d.Weight)
		}
	}
	if had {
		return sum > 0 && sum >= s.Quorum-s.Hysteresis
	}
	return sum >= s.Quorum+s.Hysteresis
}

// wanted is the table that the documentation promises.
func wanted(s health.Service, history [][]bool, quorum bool) []lb.Destination {
	var out []lb.Destination
	for i, d := range s.Spec.Destinations {
		serves := isUp(s.Check, history[i]) && (quorum || s.Sorry == nil)
		if !serves {
			d.Weight = 0
		}
		if serves || s.Check.Inhibit {
			out = append(out, d)
		}
	}
	if s.Sorry != nil && !quorum {
		out = append(out, s.Sorry.Destination)
	} else if s.Sorry != nil && s.Sorry.Inhibit {
		d := s.Sorry.Destination
		d.Weight = 0
		out = append(out, d)
	}
	return out
}
