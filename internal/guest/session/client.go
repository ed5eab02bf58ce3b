package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/hashicorp/yamux"
)

// ErrLost tells that the other end went away before the command's exit status came.
var ErrLost = errors.New("connection lost")

// StartError tells that the command could not be started there.
type StartError struct {
	Status  int // as a shell gives it: 127 not found, 126 not executable
	Message string
}

func (e *StartError) Error() string { return e.Message }

// Command is a command to run at the other end.
type Command struct {
	Spec
	Stdin          io.Reader // nil: empty
	Stdout, Stderr io.Writer // nil: dropped. With Spec.TTY all output goes to Stdout.
	// Signals are passed on to the command's process group.
	Signals <-chan syscall.Signal
	// Windows are new sizes of the terminal.
	Windows <-chan Window
}

// Client is the side that has commands run.
type Client struct{ mux *yamux.Session }

// NewClient takes conn over. What it sends before the other end is there waits in conn.
func NewClient(conn io.ReadWriteCloser) (*Client, error) {
	mux, err := yamux.Client(conn, muxConfig())
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	return &Client{mux}, nil
}

// Close ends the connection; commands that still run are hung up.
func (c *Client) Close() error { return c.mux.Close() }

// Open opens a stream without a request; for a relay.
func (c *Client) Open() (net.Conn, error) { return c.mux.Open() }

// Run runs a command and returns its exit status. If ctx ends first the
// command is hung up and ctx's error returned.
func (c *Client) Run(ctx context.Context, cmd Command) (int, error) {
	cmd.Input = cmd.Stdin != nil
	id := rand.Text()
	control, err := c.request(Request{Kind: Run, ID: id, Command: &cmd.Spec})
	if err != nil {
		return -1, err
	}
	defer control.Close()
	stop := context.AfterFunc(ctx, func() { _ = control.Close(); _ = control.SetReadDeadline(past) })
	defer stop()
	if cmd.Input {
		in, err := c.request(Request{Kind: Input, ID: id})
		if err != nil {
			return -1, err
		}
		go func() {
			// An error here shows as the command's early end; and it may end without reading all.
			_, _ = io.Copy(in, cmd.Stdin)
			_ = in.Close()
		}()
	}
	done := make(chan struct{})
	defer close(done)
	go sendEvents(control, cmd, done)
	status, err := receive(control, cmd)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return status, err
}

func (c *Client) request(r Request) (net.Conn, error) {
	s, err := c.mux.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err := writeJSON(s, frameRequest, r); err != nil {
		s.Close()
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return s, nil
}

func sendEvents(control io.Writer, cmd Command, done <-chan struct{}) {
	for {
		var err error
		select {
		case <-done:
			return
		case s := <-cmd.Signals:
			err = writeJSON(control, frameSignal, int(s))
		case w := <-cmd.Windows:
			err = writeJSON(control, frameWindow, w)
		}
		if err != nil {
			return // the reading side reports it
		}
	}
}

func receive(control io.Reader, cmd Command) (int, error) {
	for {
		kind, b, err := readFrame(control)
		if err != nil {
			return -1, fmt.Errorf("%w: %w", ErrLost, err)
		}
		switch kind {
		case frameOut:
			err = forward(cmd.Stdout, b)
		case frameErr:
			err = forward(cmd.Stderr, b)
		case frameExit:
			var x exit
			if err := json.Unmarshal(b, &x); err != nil {
				return -1, fmt.Errorf("decode exit status: %w", err)
			}
			_, _ = io.Copy(io.Discard, control) // its end: all is recorded there; or it is lost, after the fact
			if x.Error != "" {
				return x.Status, &StartError{x.Status, x.Error}
			}
			return x.Status, nil
		}
		if err != nil {
			return -1, fmt.Errorf("write output: %w", err)
		}
	}
}

func forward(w io.Writer, b []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(b)
	return err
}

// Configure sends a configuration and waits until it is in force.
func (c *Client) Configure(config any) error {
	b, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	_, err = c.ask(Request{Kind: Configure, Config: b})
	return err
}

// Ask asks for the other end's state and decodes it into state.
func (c *Client) Ask(state any) error {
	a, err := c.ask(Request{Kind: Ask})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.State, state); err != nil {
		return fmt.Errorf("decode state: %w", err)
	}
	return nil
}

func (c *Client) ask(r Request) (Answer, error) {
	var a Answer
	s, err := c.request(r)
	if err != nil {
		return a, err
	}
	defer s.Close()
	if err := readJSON(s, frameAnswer, &a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrLost, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}
