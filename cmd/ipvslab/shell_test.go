package main

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// screen is what a terminal has shown.
type screen struct {
	t    *testing.T
	tty  *os.File
	mu   sync.Mutex
	text string // not looked at yet
}

func watch(t *testing.T, tty *os.File) *screen {
	s := &screen{t: t, tty: tty}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			s.mu.Lock()
			s.text += string(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return // EIO: the other end is closed
			}
		}
	}()
	return s
}

// expect waits until the text is shown, and forgets what came up to there.
func (s *screen) expect(want string) {
	s.t.Helper()
	eventually(s.t, time.Minute, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, rest, found := strings.Cut(s.text, want)
		if found {
			s.text = rest
		}
		return found
	}, func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return "no " + want + " on the screen, but: " + s.text
	})
}

func (s *screen) enter(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// TestShell plays in a node as a person would: a prompt, a new window size,
// Ctrl-C for a command but not for the shell, and the shell's exit status.
func TestShell(t *testing.T) {
	t.Parallel()
	needKernel(t)
	p := newPlace(t)
	p.example("minimal.yaml")
	p.ok("up", "minimal.yaml")
	cmd := p.command("shell", "client")
	cmd.Env = append(cmd.Env, "TERM=dumb")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 11, Cols: 122})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	s := watch(t, tty)
	const prompt = "[client@minimal work]# "
	s.expect(prompt)
	s.enter("stty size; echo in $IPVSLAB_NODE\r")
	s.expect("11 122\r\n")
	s.expect("in client\r\n")
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 33, Cols: 144}); err != nil {
		t.Fatal(err)
	}
	s.enter("until stty size | grep -q '33 144'; do sleep 0.05; done; echo re''sized\r")
	s.expect("resized\r\n")
	s.expect(prompt)
	// Who says so has the terminal already: a Ctrl-C that the shell gets while it
	// starts a command would be lost.
	s.enter("sh -c 'echo sl\"\"eeps; exec sleep 1000'; echo no''t reached\r")
	s.expect("sleeps\r\n")
	s.enter("\x03")
	s.expect(prompt)
	s.enter("ip -br addr show outside\r")
	s.expect("10.0.0.2/24")
	s.enter("exit 5\r")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("the shell's end: %v", err)
	}
	if strings.Contains(s.text, "not reached") {
		t.Error("Ctrl-C did not end the command line")
	}
}
