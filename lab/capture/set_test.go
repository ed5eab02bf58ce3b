package capture

import (
	"testing"
	"time"
)

// A packet leaves one end of a cable before it arrives at the other, also when
// the clock has not moved meanwhile.
func TestEarlier(t *testing.T) {
	now, later := time.Unix(1, 0), time.Unix(1, 256)
	tests := []struct {
		a, b      time.Time
		way, then Direction
		want      bool
	}{
		{now, now, Out, In, true},
		{now, now, In, Out, false},
		{now, now, In, In, false},
		{now, now, Out, Out, false},
		{now, later, In, Out, true},
		{later, now, Out, In, false},
	}
	for _, tt := range tests {
		if got := earlier(tt.a, tt.way, tt.b, tt.then); got != tt.want {
			t.Errorf("%s at %d before %s at %d: %t", tt.way, tt.a.Nanosecond(), tt.then, tt.b.Nanosecond(), got)
		}
	}
}
