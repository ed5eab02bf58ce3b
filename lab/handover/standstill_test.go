package handover

import (
	"strings"
	"testing"
	"time"
)

func ms(n int) Millis { return Millis(n) * Millis(time.Millisecond) }

// A gap counts without the time that the client itself stood still.
func TestGapsOfAClientThatStoodStill(t *testing.T) {
	still := []Standstill{{ms(100), ms(200)}, {ms(450), ms(1000)}}
	at := func(n int) time.Duration { return time.Duration(ms(n)) }
	got := between([]time.Duration{at(150), at(400), at(1100)}, at(1200), still)
	want := []Gap{
		{From: 0, To: ms(150), Length: ms(150), Still: ms(50)},
		{From: ms(150), To: ms(400), Length: ms(250), Still: ms(50)},
		{From: ms(400), To: ms(1100), Length: ms(700), Still: ms(550)},
		{From: ms(1100), To: ms(1200), Length: ms(100), Open: true},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	if g := longest(got); g != want[1] {
		t.Errorf("the longest that is sure: %+v", g)
	}
	if text := want[2].String(); text != "700 ms, from 0.400 s to 1.100 s (for 550 ms of it the client itself stood still)" {
		t.Error(text)
	}
}

func TestDoubt(t *testing.T) {
	run := func(still int, marks ...Mark) Result {
		return Result{Duration: ms(1000), Marks: marks, Standstills: []Standstill{{ms(100), ms(100 + still)}}}
	}
	late := Mark{Name: "a kill", Due: ms(100), At: ms(1000)}
	for _, test := range []struct {
		result Result
		want   string
	}{
		{run(500, Mark{Due: ms(100), At: ms(999)}), ""},
		{run(0, Mark{Due: ms(1000), At: ms(1001)}), ""}, // at the end is where it was wanted
		{run(501), "nothing can be said: for 0.501 s of 1.000 s the client itself stood still"},
		{run(0, late), "nothing can be said: a kill was due at 0.100 s and came at 1.000 s, after the end"},
	} {
		if got := test.result.Doubt(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
		var b strings.Builder
		if err := test.result.Summary(&b); err != nil || strings.Contains(b.String(), "\ndoubt") != (test.want != "") {
			t.Errorf("summary (%v):\n%s", err, b.String())
		}
	}
}
