package guest

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/ipvslab/ipvslab/internal/guest/session"
)

// attach connects this process's terminal and signals to a command and runs it.
// The terminal is the user's until run calls begin, when the guest is up: so
// Ctrl-C ends a boot that takes too long.
func attach(cmd Command, run func(c session.Command, begin func() error) (int, error)) (status int, err error) {
	c := session.Command{Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr}
	c.Argv, c.Env, c.Dir = cmd.Argv, cmd.Env, cmd.Dir
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.Dir == "" {
		if c.Dir, err = os.Getwd(); err != nil {
			return -1, fmt.Errorf("run command: %w", err)
		}
	}
	signals, stop := watchSignals([]os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGINT})
	defer stop()
	c.Signals = signals
	if cmd.Cancelled != nil { // from here on it would show as a signal
		if err := cmd.Cancelled(); err != nil {
			return -1, err
		}
	}
	begin := func() error { return nil }
	if in, ok := terminals(cmd.Stdin, cmd.Stdout); ok {
		windows, stop := watchWindow(in)
		defer stop()
		w := <-windows
		c.TTY, c.Windows = &w, windows
		t := &rawTerminal{file: in}
		defer t.restore()
		begin = t.set
	}
	return run(c, begin)
}

// rawTerminal is a terminal that may be put into raw mode, until restore.
// Ctrl-C and its like are bytes then; the guest's terminal makes signals of them.
type rawTerminal struct {
	file *os.File

	mu   sync.Mutex
	over bool
	old  *term.State // nil: not raw
}

func (t *rawTerminal) set() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil
	}
	if t.old, err = term.MakeRaw(int(t.file.Fd())); err != nil {
		return fmt.Errorf("prepare terminal: %w", err)
	}
	return nil
}

func (t *rawTerminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.old != nil {
		_ = term.Restore(int(t.file.Fd()), t.old) // it may have been closed
	}
}

// terminals tells whether input and output are both a person's terminal.
func terminals(r io.Reader, w io.Writer) (*os.File, bool) {
	in, ok := r.(*os.File)
	if !ok || in == nil || !term.IsTerminal(int(in.Fd())) {
		return nil, false
	}
	out, ok := w.(*os.File)
	return in, ok && out != nil && term.IsTerminal(int(out.Fd()))
}

// watchSignals takes signals over until stop is called.
func watchSignals(which []os.Signal) (<-chan syscall.Signal, func()) {
	from := make(chan os.Signal, 16)
	to := make(chan syscall.Signal, 16)
	signal.Notify(from, which...)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-from:
				select {
				case to <- s.(syscall.Signal):
				default: // sixteen of them wait already
				}
			case <-done:
				return
			}
		}
	}()
	return to, func() { signal.Stop(from); close(done) }
}

// watchWindow delivers the terminal's size, now and whenever it changes.
func watchWindow(tty *os.File) (<-chan session.Window, func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	sizes := make(chan session.Window, 1)
	done := make(chan struct{})
	send := func() {
		cols, rows, err := term.GetSize(int(tty.Fd()))
		if err != nil {
			rows, cols = 24, 80
		}
		select {
		case sizes <- session.Window{Rows: uint16(rows), Cols: uint16(cols)}:
		case <-done:
		}
	}
	go func() {
		send()
		for {
			select {
			case <-changed:
				send()
			case <-done:
				return
			}
		}
	}()
	return sizes, func() { signal.Stop(changed); close(done) }
}
