package handover

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"syscall"
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

const watched = "IPVSLAB_TEST_STANDSTILLS"

// A process that is stopped for a while notices.
func TestStandstillIsNoticed(t *testing.T) {
	if os.Getenv(watched) != "" {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = os.Stdin.Read(make([]byte, 1)); cancel() }()
		began := time.Now()
		os.Stdout.WriteString("ready\n")
		if err := json.NewEncoder(os.Stdout).Encode(standstills(ctx, began)); err != nil {
			t.Fatal(err)
		}
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStandstillIsNoticed$")
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
	var still []Standstill
	if err := json.NewDecoder(out).Decode(&still); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if sum := stoodStill(still, 0, ms(1e6)); time.Duration(sum) < stopped-pulseInterval-leastStandstill {
		t.Errorf("stopped for %v, it noticed %v", stopped, still)
	}
}
