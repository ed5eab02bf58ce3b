package poll

import (
	"testing"
	"time"
)

// A wait lasts at most a tenth longer than it has to, and no look is far off.
func TestPause(t *testing.T) {
	for waited, want := range map[time.Duration]time.Duration{
		0:                      2 * time.Millisecond,
		20 * time.Millisecond:  2 * time.Millisecond,
		200 * time.Millisecond: 20 * time.Millisecond,
		time.Minute:            50 * time.Millisecond,
	} {
		if got := pause(waited); got != want {
			t.Errorf("after %v: %v, want %v", waited, got, want)
		}
	}
}

func TestAgain(t *testing.T) {
	p := Start()
	<-p.Again()
	if waited := time.Since(p.began); waited < shortest {
		t.Errorf("the first look came after %v", waited)
	}
}
