package uml

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// lines makes both ends of the byte stream, with sockets in place of terminals.
func lines(t *testing.T) (*hostLine, *guestLine) {
	t.Helper()
	data, dataInside, err := linePair()
	if err != nil {
		t.Fatal(err)
	}
	acks, acksInside, err := linePair()
	if err != nil {
		t.Fatal(err)
	}
	h, g := newHostLine(data, acks), &guestLine{dataInside, acksInside}
	t.Cleanup(func() { h.Close(); g.Close() })
	return h, g
}

// TestWindow: never more than a window is under way, and nothing before the first grant.
func TestWindow(t *testing.T) {
	h, g := lines(t)
	want := bytes.Repeat([]byte("0123456789"), 2000)
	written := make(chan error, 1)
	go func() {
		_, err := h.Write(want)
		written <- err
	}()
	if err := g.data.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err == nil {
		if n, err := g.data.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes before the first grant, %v", n, err)
		}
	}
	_ = g.data.SetReadDeadline(time.Time{}) // where deadlines do not work the check above is left out
	if err := g.grant(window); err != nil {
		t.Fatal(err)
	}
	var got []byte
	b := make([]byte, 64<<10)
	for len(got) < len(want) {
		n, err := g.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if n > window {
			t.Fatalf("%d bytes at once", n)
		}
		got = append(got, b[:n]...)
	}
	if err := <-written; err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
}

// TestLineEnds: a writer that waits for credit is told when the guest is gone.
func TestLineEnds(t *testing.T) {
	h, g := lines(t)
	written := make(chan error, 1)
	go func() {
		_, err := h.Write([]byte("x"))
		written <- err
	}()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err == nil {
		t.Error("no error")
	}
	if _, err := h.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine(machine.Spec{Kernel: "/k", Memory: 64 << 20, KernelArgs: []string{"extra=1"}})
	for _, want := range []string{"mem=64M", "init=" + sandbox.Self, "ssl0=fd:3", "ssl1=fd:4", "extra=1"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if tail := got[len(got)-3:]; !slices.Equal(tail, []string{"--", machine.Mark, Kind}) {
		t.Errorf("it ends with %q", tail)
	}
}

func TestExplain(t *testing.T) {
	failure := errors.New("exit status 1")
	for console, want := range map[string]string{
		"check_ptrace : ptrace failed, errno 1":         "--kernel qemu",
		"Kernel panic - not syncing: VFS: unable":       "panicked",
		"/tmp must be not mounted noexec":               "noexec",
		"something else":                                "exit status 1",
		"write: No space left on device while starting": "TMPDIR",
	} {
		err := explain("/k", failure, console)
		if !strings.Contains(err.Error(), want) || !errors.Is(err, failure) {
			t.Errorf("%q: %v", console, err)
		}
	}
}

// TestCPUs: guests take different CPUs as long as there are any, and give them back.
func TestCPUs(t *testing.T) {
	first, err := acquireCPU()
	if err != nil {
		t.Fatal(err)
	}
	if first.lock == nil {
		t.Skip("all CPUs are taken by other guests, or there is no /sys")
	}
	second, err := acquireCPU()
	if err != nil {
		t.Fatal(err)
	}
	if second.lock != nil && second.number == first.number {
		t.Errorf("both have CPU %d", first.number)
	}
	second.release()
	first.release()
}
