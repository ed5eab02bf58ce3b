package standstill_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/standstill"
)

const watched = "IPVSLAB_TEST_STANDSTILLS"

// A process that is stopped for a while notices.
func TestWatch(t *testing.T) {
	if os.Getenv(watched) != "" {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = os.Stdin.Read(make([]byte, 1)); cancel() }()
		began := time.Now()
		os.Stdout.WriteString("ready\n")
		var sum time.Duration
		standstill.Watch(ctx, began, 10*time.Millisecond, func(from, to time.Duration) { sum += to - from })
		if err := json.NewEncoder(os.Stdout).Encode(sum); err != nil {
			t.Fatal(err)
		}
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWatch$")
	cmd.Env = append(os.Environ(), watched+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	const stopped = 300 * time.Millisecond
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		<-time.After(stopped)
	}
	in.Close()
	var sum time.Duration
	if err := json.NewDecoder(out).Decode(&sum); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if sum < stopped-2*standstill.Least {
		t.Errorf("stopped for %v, it noticed %v", stopped, sum)
	}
}

// What ends together with the watching is told as well.
func TestWatchTellsTheLast(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		var from, to time.Duration
		standstill.Watch(ctx, time.Now().Add(-time.Second), 10*time.Millisecond, func(f, t time.Duration) { from, to = f, t })
		if to < time.Second || from > standstill.Least {
			t.Fatalf("told: from %v to %v", from, to)
		}
	}
}
