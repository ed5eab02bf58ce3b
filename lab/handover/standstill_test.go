package handover

import (
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
