package qemu

import (
	"testing"
	"time"
)

func TestWatchdog(t *testing.T) {
	// What the boot had used of the processor at each second.
	tests := map[string]struct {
		used  func(second int) (time.Duration, bool)
		hangs int // at which second it is found to hang; 0: not within a minute
	}{
		"busy host, slow progress": {func(s int) (time.Duration, bool) { return time.Duration(s) * 100 * time.Millisecond, true }, 0},
		"spins":                    {func(s int) (time.Duration, bool) { return time.Duration(s) * 1500 * time.Millisecond, true }, 10},
		"idle from the third on":   {func(s int) (time.Duration, bool) { return time.Duration(min(s, 3)) * time.Second, true }, 10},
		"idle late":                {func(s int) (time.Duration, bool) { return time.Duration(min(s, 20)) * 200 * time.Millisecond, true }, 23},
		"nobody knows":             {func(int) (time.Duration, bool) { return 0, false }, 10},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			second := 0
			start := time.Now()
			w := watchdog{limit: 10 * time.Second, start: start, moved: start, cpu: func() (time.Duration, bool) { return tt.used(second) }}
			got := 0
			for second = 1; second <= 60 && got == 0; second++ {
				if w.hangs(start.Add(time.Duration(second) * time.Second)) {
					got = second
				}
			}
			if got != tt.hangs {
				t.Errorf("found to hang at second %d, want %d", got, tt.hangs)
			}
		})
	}
}

func TestParseCPU(t *testing.T) {
	const stat = "42 (qemu) x) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 3 0 123 1000 200"
	if got := parseCPU(stat); got != 2*time.Second {
		t.Errorf("%v, want 2s", got)
	}
	if got := parseCPU("42 (cut"); got != 0 {
		t.Errorf("%v of a line cut short, want none", got)
	}
}
