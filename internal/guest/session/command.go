package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// Starter starts a process, and returns its pid and a channel that delivers
// its wait status. A pid 1 has its own, since it reaps everybody's children.
type Starter func(path string, argv []string, attr *os.ProcAttr) (pid int, end <-chan syscall.WaitStatus, err error)

// startProcess is the ordinary Starter.
func startProcess(path string, argv []string, attr *os.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	end := make(chan syscall.WaitStatus, 1)
	go func() {
		state, err := p.Wait()
		if err != nil {
			end <- syscall.WaitStatus(0xff00)
			return
		}
		end <- state.Sys().(syscall.WaitStatus)
	}()
	return p.Pid, end, nil
}

// output is one of the command's outputs, read here.
type output struct {
	kind byte
	r    *os.File
}

// command is a running command. It leads a process group of its own.
type command struct {
	pid     int
	ended   chan struct{}
	status  int // valid when ended is closed
	outputs []output
	stdin   *os.File // nil: none
	tty     *os.File // the terminal's master; nil: none
	once    sync.Once
}

// launch starts the command of spec.
func launch(start Starter, spec Spec) (*command, error) {
	path, err := lookPath(spec)
	if err != nil {
		return nil, err
	}
	c := &command{ended: make(chan struct{})}
	files, sys, err := c.streams(spec)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		c.close()
		return nil, err
	}
	var end <-chan syscall.WaitStatus
	c.pid, end, err = start(path, spec.Argv, &os.ProcAttr{Dir: spec.Dir, Env: spec.Env, Files: files, Sys: sys})
	if err != nil {
		c.close()
		return nil, err
	}
	go func() {
		s := <-end
		if c.status = s.ExitStatus(); s.Signaled() {
			c.status = 128 + int(s.Signal())
		}
		close(c.ended)
	}()
	return c, nil
}

// streams makes the command's standard streams: a terminal or pipes.
func (c *command) streams(spec Spec) ([]*os.File, *syscall.SysProcAttr, error) {
	if spec.TTY != nil {
		master, slave, err := pty.Open()
		if err != nil {
			return nil, nil, fmt.Errorf("open terminal: %w", err)
		}
		c.tty, c.stdin = master, master
		c.outputs = []output{{frameOut, master}}
		c.resize(*spec.TTY)
		return []*os.File{slave, slave, slave}, &syscall.SysProcAttr{Setsid: true, Setctty: true}, nil
	}
	var inside []*os.File
	stdin, err := os.Open(os.DevNull)
	if err == nil && spec.Input {
		stdin.Close()
		stdin, c.stdin, err = os.Pipe()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open input: %w", err)
	}
	inside = append(inside, stdin)
	for _, kind := range []byte{frameOut, frameErr} {
		r, w, err := os.Pipe()
		if err != nil {
			return inside, nil, fmt.Errorf("open output: %w", err)
		}
		c.outputs = append(c.outputs, output{kind, r})
		inside = append(inside, w)
	}
	return inside, &syscall.SysProcAttr{Setsid: true}, nil
}

// lookPath finds the command's file with the command's own PATH and directory.
func lookPath(spec Spec) (string, error) {
	if spec.Path != "" {
		return spec.Path, nil
	}
	name := spec.Argv[0]
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	for _, dir := range filepath.SplitList(lookEnv(spec.Env, "PATH")) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(spec.Dir, dir)
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func lookEnv(env []string, key string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, key+"="); ok {
			return v
		}
	}
	return ""
}

// startStatus is what a shell would give as exit status.
func startStatus(err error) int {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return 127
	}
	return 126
}

// drain is how long a command's output is waited for when the command has
// ended and a descendant of its own keeps the pipe open, silent.
const drain = 200 * time.Millisecond

// copyOutput passes on one output until its end, or, when the command has
// ended, until there is nothing more.
func (c *command) copyOutput(w *frameWriter, o output) {
	go func() {
		<-c.ended
		_ = o.r.SetReadDeadline(time.Now().Add(drain)) // wakes a read that waits
	}()
	b := make([]byte, 32<<10)
	broken := false
	for {
		n, err := o.r.Read(b)
		if n > 0 && !broken {
			broken = w.write(o.kind, b[:n]) != nil // nobody listens: go on reading, as the command must end
		}
		if err != nil {
			return // the end, a terminal's EIO, or the deadline
		}
		select {
		case <-c.ended:
			_ = o.r.SetReadDeadline(time.Now().Add(drain))
		default:
		}
	}
}

// copyInput passes on the input, which comes as a stream of its own.
func (c *command) copyInput(in <-chan net.Conn) {
	var s net.Conn
	select {
	case s = <-in:
	case <-c.ended:
		return
	}
	if s == nil {
		return // it came when the command had ended, and is closed
	}
	defer s.Close()
	go func() {
		<-c.ended
		_ = s.SetReadDeadline(past)
	}()
	_, _ = io.Copy(c.stdin, s) // the command may close its input
	if c.tty == nil {
		c.stdin.Close()
	}
}

// handleEvents handles signals and window sizes until the client is gone.
func (c *command) handleEvents(control io.Reader) {
	for {
		kind, b, err := readFrame(control)
		if err != nil {
			return
		}
		switch kind {
		case frameSignal:
			var n int
			if json.Unmarshal(b, &n) == nil {
				c.signal(syscall.Signal(n))
			}
		case frameWindow:
			var w Window
			if json.Unmarshal(b, &w) == nil {
				c.resize(w)
			}
		}
	}
}

// signal signals the command's process group; there may be nobody left in it.
func (c *command) signal(s syscall.Signal) { _ = syscall.Kill(-c.pid, s) }

func (c *command) resize(w Window) {
	if c.tty != nil {
		_ = pty.Setsize(c.tty, &pty.Winsize{Rows: w.Rows, Cols: w.Cols}) // a size is a wish
	}
}

// close closes this side of the streams.
func (c *command) close() {
	c.once.Do(func() {
		for _, o := range c.outputs {
			o.r.Close()
		}
		if c.stdin != nil && c.tty == nil {
			c.stdin.Close()
		}
	})
}
