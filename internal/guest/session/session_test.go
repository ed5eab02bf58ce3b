package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

// pair is a client and a server with a pipe between them.
func pair(t *testing.T, s *Server) *Client {
	t.Helper()
	near, far := net.Pipe()
	go func() { _ = s.Serve(far) }() // ends with the pipe
	c, err := NewClient(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// through puts a relay between client and server.
func through(t *testing.T, s *Server) *Client {
	t.Helper()
	behind := pair(t, s)
	near, far := net.Pipe()
	go func() { _ = behind.Relay(far, func() {}) }()
	c, err := NewClient(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func shell(script string) Spec {
	return Spec{Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "WORD=hello"}, Dir: "/"}
}

func TestRun(t *testing.T) {
	for name, connect := range map[string]func(*testing.T, *Server) *Client{"direct": pair, "relayed": through} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, &Server{})
			for _, tt := range []struct {
				script, stdin, out, err string
				status                  int
			}{
				{script: "exit 7", status: 7},
				{script: "echo $WORD; echo oops >&2; pwd", out: "hello\n/\n", err: "oops\n"},
				{script: "cat", stdin: "in\n", out: "in\n"},
				{script: "kill -KILL $$", status: 137},
				{script: "cat", out: ""},                        // no input: at its end at once
				{script: "sleep 60 & echo done", out: "done\n"}, // a descendant that keeps the output open
			} {
				var stdout, stderr bytes.Buffer
				cmd := Command{Spec: shell(tt.script), Stdout: &stdout, Stderr: &stderr}
				if tt.stdin != "" {
					cmd.Stdin = strings.NewReader(tt.stdin)
				}
				status, err := c.Run(t.Context(), cmd)
				if err != nil || status != tt.status || stdout.String() != tt.out || stderr.String() != tt.err {
					t.Errorf("%s: status %d, %v, stdout %q, stderr %q", tt.script, status, err, &stdout, &stderr)
				}
			}
		})
	}
}

func TestBulk(t *testing.T) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	c := through(t, &Server{})
	var out bytes.Buffer
	status, err := c.Run(t.Context(), Command{Spec: shell("cat"), Stdin: bytes.NewReader(data), Stdout: &out})
	if err != nil || status != 0 || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("status %d, %v, %d of %d bytes, equal: %v", status, err, out.Len(), len(data), bytes.Equal(out.Bytes(), data))
	}
}

func TestNotStarted(t *testing.T) {
	c := pair(t, &Server{})
	for _, tt := range []struct {
		path   string
		status int
	}{{"/nonexistent", 127}, {"nonexistent", 127}, {"/etc/passwd", 126}} {
		spec := shell("")
		spec.Argv = []string{tt.path}
		status, err := c.Run(t.Context(), Command{Spec: spec})
		var start *StartError
		if !errors.As(err, &start) || status != tt.status || start.Status != tt.status || !strings.Contains(err.Error(), "nonexistent") && tt.status == 127 {
			t.Errorf("%s: status %d, %v", tt.path, status, err)
		}
	}
	c = pair(t, &Server{Ready: func() error { return errors.New("out of order") }})
	if _, err := c.Run(t.Context(), Command{Spec: shell("true")}); err == nil || err.Error() != "out of order" {
		t.Errorf("not ready: %v", err)
	}
}

// lines is a writer that says which lines it has got.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	for s := range strings.FieldsFuncSeq(string(p), func(r rune) bool { return r == '\n' || r == '\r' }) {
		l <- s
	}
	return len(p), nil
}

func (l lines) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-l:
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("no %q", want)
	}
}

func TestSignals(t *testing.T) {
	c := pair(t, &Server{})
	out, signals := make(lines, 9), make(chan syscall.Signal)
	type result struct {
		status int
		err    error
	}
	done := make(chan result)
	go func() {
		status, err := c.Run(t.Context(), Command{
			Spec:   shell("trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done"),
			Stdout: out, Signals: signals,
		})
		done <- result{status, err}
	}()
	out.want(t, "ready")
	signals <- syscall.SIGTERM
	out.want(t, "got")
	if r := <-done; r.status != 3 || r.err != nil {
		t.Errorf("%+v", r)
	}
}

func TestTerminal(t *testing.T) {
	c := pair(t, &Server{})
	out, windows := make(lines, 9), make(chan Window)
	in, keys := io.Pipe()
	spec := shell("stty size; read x; echo key $x; until stty size | grep -q '33 44'; do sleep 0.02; done; echo resized; exec cat")
	spec.TTY = &Window{Rows: 11, Cols: 22}
	done := make(chan int)
	go func() {
		status, err := c.Run(t.Context(), Command{Spec: spec, Stdin: in, Stdout: out, Windows: windows})
		if err != nil {
			t.Error(err)
		}
		done <- status
	}()
	out.want(t, "11 22")
	io.WriteString(keys, "a\n")
	out.want(t, "a") // the terminal's echo
	out.want(t, "key a")
	windows <- Window{Rows: 33, Cols: 44}
	out.want(t, "resized")
	io.WriteString(keys, "b\n") // echoed twice: so cat runs when Ctrl-C comes
	out.want(t, "b")
	out.want(t, "b")
	io.WriteString(keys, "\x03") // Ctrl-C
	if status := <-done; status != 130 {
		t.Errorf("status %d", status)
	}
}

// TestGone: when the client goes, the command is hung up, and killed if it does not care.
func TestGone(t *testing.T) {
	for name, script := range map[string]string{
		"polite":   "echo $$; exec sleep 600",
		"stubborn": "trap '' HUP; echo $$; while :; do sleep 0.05; done",
		"talking":  "echo $$; trap '' HUP; exec yes", // its output has nowhere to go
	} {
		t.Run(name, func(t *testing.T) {
			c := through(t, &Server{HangupGrace: 100 * time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan string, 1)
			err := make(chan error)
			go func() {
				_, e := c.Run(ctx, Command{Spec: shell(script), Stdout: writerFunc(func(p []byte) (int, error) {
					select {
					case first <- strings.SplitN(string(p), "\n", 2)[0]:
					default:
					}
					return len(p), nil
				})})
				err <- e
			}()
			var pid int
			if e := json.Unmarshal([]byte(<-first), &pid); e != nil {
				t.Fatal(e)
			}
			cancel()
			if e := <-err; !errors.Is(e, context.Canceled) {
				t.Errorf("error %v", e)
			}
			gomega.NewWithT(t).Eventually(func() error { return syscall.Kill(pid, 0) }).
				WithTimeout(30*time.Second).WithPolling(5*time.Millisecond).
				Should(gomega.HaveOccurred(), "process %d still runs", pid)
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestLost(t *testing.T) {
	near, far := net.Pipe()
	s := &Server{}
	go func() { _ = s.Serve(far) }()
	c, err := NewClient(near)
	if err != nil {
		t.Fatal(err)
	}
	out := make(lines, 1)
	result := make(chan error)
	go func() {
		_, err := c.Run(t.Context(), Command{Spec: shell("echo here; sleep 600"), Stdout: out})
		result <- err
	}()
	out.want(t, "here")
	far.Close()
	if err := <-result; !errors.Is(err, ErrLost) {
		t.Errorf("error %v", err)
	}
}

func TestConfigureAndAsk(t *testing.T) {
	type config struct{ Word string }
	var got config
	c := pair(t, &Server{
		Configure: func(b json.RawMessage) error {
			if err := json.Unmarshal(b, &got); err != nil {
				return err
			}
			if got.Word == "bad" {
				return errors.New("bad word")
			}
			return nil
		},
		State: func() (any, error) {
			if got.Word == "" {
				return nil, errors.New("no word yet")
			}
			return got, nil
		},
	})
	var state config
	if err := c.Ask(&state); err == nil || err.Error() != "no word yet" {
		t.Errorf("error %v", err)
	}
	if err := c.Configure(config{"bad"}); err == nil || err.Error() != "bad word" {
		t.Errorf("error %v", err)
	}
	if err := c.Configure(config{"good"}); err != nil {
		t.Error(err)
	}
	if err := c.Ask(&state); err != nil || state.Word != "good" {
		t.Errorf("%+v, %v", state, err)
	}
}

// TestAdjustedPath: another file is executed, under the name that was asked for.
func TestAdjustedPath(t *testing.T) {
	c := pair(t, &Server{Adjust: func(s *Spec) { s.Path = "/bin/sh" }})
	var out bytes.Buffer
	spec := Spec{Argv: []string{"not-there", "-c", "echo $0"}, Dir: "/"}
	if status, err := c.Run(t.Context(), Command{Spec: spec, Stdout: &out}); err != nil || status != 0 || out.String() != "not-there\n" {
		t.Errorf("status %d, %v, %q", status, err, &out)
	}
}
