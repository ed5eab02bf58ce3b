package guest

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/ipvslab/ipvslab/internal/guest/session"
)

// attach connects this process's terminal and signals to a command and runs it.
func attach(cmd Command, run func(session.Command) (int, error)) (status int, err error) {
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
	forwarded := []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGINT}
	if in, ok := terminals(cmd.Stdin, cmd.Stdout); ok {
		// Ctrl-C and its like are bytes now; the guest's terminal makes signals of them.
		state, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return -1, fmt.Errorf("prepare terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(in.Fd()), state) }() // it may have been closed
		windows, stop := watchWindow(in)
		defer stop()
		w := <-windows
		c.TTY, c.Windows = &w, windows
		forwarded = forwarded[:2]
	}
	signals, stop := watchSignals(forwarded)
	defer stop()
	c.Signals = signals
	return run(c)
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
