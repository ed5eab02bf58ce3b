package qemu

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// fakeGuest runs a shell script in the sandbox in QEMU's place; descriptor 3
// is its line. count, if not empty, is a file in a writable directory.
func fakeGuest(t *testing.T, dir, script string) func() (*attempt, error) {
	t.Helper()
	return func() (*attempt, error) {
		ours, theirs, err := socketPair()
		if err != nil {
			return nil, err
		}
		defer theirs.Close()
		a := &attempt{line: ours}
		a.process, err = sandbox.Start(sandbox.Spec{
			Argv:     []string{"/bin/sh", "-c", script},
			Env:      []string{"PATH=/usr/bin:/bin", "D=" + dir},
			Files:    []*os.File{theirs},
			Output:   &a.console,
			Writable: []string{dir},
		})
		return a, err
	}
}

func ample() [2]time.Duration { return [2]time.Duration{30 * time.Second, 30 * time.Second} }

// What is written before the guest is there arrives, and so does its answer.
func TestLineBuffersUntilTheGuestIsUp(t *testing.T) {
	h, err := newHost(fakeGuest(t, t.TempDir(), `printf '!' >&3; head -c 5 <&3 >&3`), ample())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Kill()
	if _, err := h.Line().Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(h.Line())
	if err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v; want hello", got, err)
	}
	<-h.Done()
	if h.Err() != nil {
		t.Errorf("it ended by itself with status 0, but Err is %v", h.Err())
	}
}

// The first boot hangs, or trips over its own breakpoint; the second does not,
// and gets what was written.
func TestUnluckyBootIsTriedAgain(t *testing.T) {
	for name, first := range map[string]string{
		"hangs": "exec sleep 60",
		"trips": "echo '[    1.195112] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI'; exit 0",
	} {
		t.Run(name, func(t *testing.T) { secondBoot(t, first) })
	}
}

func secondBoot(t *testing.T, first string) {
	dir := t.TempDir()
	script := `echo x >>"$D/tries"; [ "$(wc -l <"$D/tries")" = 1 ] && { ` + first + `; }; printf '!' >&3; head -c 5 <&3 >&3`
	h, err := newHost(fakeGuest(t, dir, script), [2]time.Duration{3 * time.Second, 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Kill()
	if _, err := h.Line().Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(h.Line()); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v; want hello", got, err)
	}
	tries, err := os.ReadFile(filepath.Join(dir, "tries"))
	if err != nil || strings.Count(string(tries), "x") != 2 {
		t.Errorf("tries: %q, %v; want two", tries, err)
	}
}

func TestBootsThatFail(t *testing.T) {
	tests := map[string]struct {
		script string
		limits [2]time.Duration
		want   string
	}{
		"hangs twice":         {"exec sleep 60", [2]time.Duration{100 * time.Millisecond, 100 * time.Millisecond}, "hangs while booting"},
		"ends":                {"echo cannot do that >&2; exit 3", ample(), "ended while booting"},
		"says what it is not": {"printf SeaBIOS >&3; exec sleep 60", ample(), "not from its init"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := newHost(fakeGuest(t, t.TempDir(), tt.script), tt.limits)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Kill()
			if n, err := h.Line().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("Read: %d, %v; want the end of file", n, err)
			}
			<-h.Done()
			if h.Err() == nil || !strings.Contains(h.Err().Error(), tt.want) {
				t.Errorf("Err %v, want %q", h.Err(), tt.want)
			}
			if name == "ends" && !strings.Contains(h.Console(), "cannot do that") {
				t.Errorf("console %q lacks what QEMU said", h.Console())
			}
			if _, err := h.Line().Write([]byte("x")); err == nil {
				t.Error("writing to a dead guest gave no error")
			}
		})
	}
}

func TestKillWhileBooting(t *testing.T) {
	h, err := newHost(fakeGuest(t, t.TempDir(), "exec sleep 60"), ample())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Line().Close(); err != nil {
		t.Fatal(err)
	}
	<-h.Done()
	if h.Err() != nil {
		t.Errorf("Err after Kill: %v, want none", h.Err())
	}
}

// A kernel without its modules can't reach the host; the error says what to do.
func TestKernelWithoutModulesIsExplained(t *testing.T) {
	start := fakeGuest(t, t.TempDir(), `echo "ipvslab: guest: enter host's tree: `+noShare+`no such device"`)
	for modules, want := range map[string]string{"": "IPVSLAB_KERNEL_MODULES", "/mine": "its modules in /mine"} {
		h, err := newHost(func() (*attempt, error) {
			a, err := start()
			if err == nil {
				a.modules = modules
			}
			return a, err
		}, ample())
		if err != nil {
			t.Fatal(err)
		}
		<-h.Done()
		if err := h.Err(); err == nil || !strings.Contains(err.Error(), "9p over virtio") || !strings.Contains(err.Error(), want) {
			t.Errorf("modules %q: %v, want it to name 9p and %q", modules, err, want)
		}
	}
}
