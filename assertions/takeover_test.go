package assertions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/handover"
	"github.com/ipvslab/ipvslab/topology"
)

func ptr[T any](v T) *T { return &v }

// Each limit is kept by a good takeover, and named when it is not.
func TestStayWithin(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	seen := func() assertions.Takeover {
		return assertions.Takeover{
			Result: handover.Result{
				Duration: handover.Millis(ms(3000)), Every: handover.Millis(ms(20)), Rate: 10, Lost: 4,
				Gap:     handover.Gap{From: handover.Millis(ms(1000)), To: handover.Millis(ms(1300)), Length: handover.Millis(ms(300))},
				New:     handover.Fresh{Opened: 30, Answered: 26},
				Streams: handover.Streams{Opened: 5, Continued: 5},
			},
			Tenures: []assertions.Tenure{
				{Group: "main", Active: []string{"a"}, To: ms(1000)},
				{Group: "main", Active: []string{"a", "b"}, From: ms(1000), To: ms(1040)},
				{Group: "main", Active: []string{"b"}, Dead: []string{"a"}, From: ms(1040), To: ms(3000)},
			},
		}
	}
	all := topology.Handover{Gap: ms(300), Lost: ptr(4), Streams: "continue", Active: "b", TwoActive: ptr(ms(40))}
	if ok, err := assertions.StayWithin(all).Match(seen()); !ok || err != nil {
		t.Errorf("a takeover within its limits: %v", err)
	}
	still := seen() // with 50 ms of the gap, and 10 ms of the split
	still.Gap.Still = handover.Millis(ms(50))
	still.Standstills = []handover.Standstill{{From: handover.Millis(ms(1030)), To: handover.Millis(ms(1080))}}
	for limit, kept := range map[topology.Handover]bool{
		{Gap: ms(250)}: true, {Gap: ms(249)}: false, {TwoActive: ptr(ms(30))}: true, {TwoActive: ptr(ms(29))}: false,
	} {
		if ok, err := assertions.StayWithin(limit).Match(still); ok != kept || err != nil {
			t.Errorf("a client that stood still, %+v: %v, %v", limit, ok, err)
		}
	}
	for _, test := range []struct {
		limits topology.Handover
		plant  func(*assertions.Takeover)
		want   string
	}{
		{topology.Handover{Gap: ms(299)}, nil, "the gap is 300 ms, from 1.000 s to 1.300 s; at most 299ms"},
		{topology.Handover{Lost: ptr(3)}, nil, "4 were lost"},
		{topology.Handover{Streams: "lost"}, nil, "of 5 streams 5 went on"},
		{all, func(t *assertions.Takeover) { t.Streams.Broken, t.Streams.Continued = 1, 4 }, "of 5 streams 1 did not go on"},
		{all, func(t *assertions.Takeover) { t.Streams = handover.Streams{} }, "there was no stream"},
		{topology.Handover{Active: "a"}, nil, "a was to have the addresses in the end, alone"},
		{all, func(t *assertions.Takeover) { t.Tenures[2].Active = []string{"a", "b"} }, "b was to have the addresses in the end, alone"},
		{topology.Handover{TwoActive: ptr(ms(39))}, nil, "split brain: a and b had the addresses of main at the same time for 40ms"},
		{all, func(t *assertions.Takeover) { t.Standstills = []handover.Standstill{{To: t.Duration}} }, "nothing can be said: for 3.000 s of 3.000 s"},
		{topology.Handover{Lost: ptr(0)}, nil, "main from 1.040 s to 3.000 s: b (and a, which does not run)"},
	} {
		got := seen()
		if test.plant != nil {
			test.plant(&got)
		}
		m := assertions.StayWithin(test.limits)
		ok, err := m.Match(got)
		if ok || err != nil || !strings.Contains(m.FailureMessage(got), test.want) {
			t.Errorf("%v, %v: the message lacks %q:\n%s", ok, err, test.want, m.FailureMessage(got))
		}
	}
	if _, err := assertions.StayWithin(all).Match(1); err == nil {
		t.Error("a number was taken for a takeover")
	}
}
