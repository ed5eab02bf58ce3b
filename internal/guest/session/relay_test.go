package session

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

// relayed is a client behind a relay; ended is closed when the relay returns.
func relayed(t *testing.T, s *Server) (c *Client, ended chan struct{}) {
	t.Helper()
	behind := pair(t, s)
	near, far := net.Pipe()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_ = behind.Relay(far, func() {})
	}()
	c, err := NewClient(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, ended
}

// TestRelayEnds: whatever becomes of a command's input, a client that has gone
// is gone for the relay too. A guest's supervisor counts on it.
func TestRelayEnds(t *testing.T) {
	bulk := bytes.Repeat([]byte("x"), 2<<20) // more than any window
	for name, use := range map[string]func(t *testing.T, c *Client){
		"input that is not read to its end": func(t *testing.T, c *Client) {
			status, err := c.Run(t.Context(), Command{Spec: shell("head -c 300000 >/dev/null; exit 3"), Stdin: bytes.NewReader(bulk)})
			if status != 3 || err != nil {
				t.Errorf("status %d, %v", status, err)
			}
		},
		"input of a command that can't be started": func(t *testing.T, c *Client) {
			spec := shell("")
			spec.Argv = []string{"/nonexistent"}
			_, err := c.Run(t.Context(), Command{Spec: spec, Stdin: bytes.NewReader(bulk)})
			var start *StartError
			if !errors.As(err, &start) {
				t.Error(err)
			}
		},
		"input that comes when the command has ended": func(t *testing.T, c *Client) {
			spec := shell("exit 0")
			spec.Input = true
			control, err := c.request(Request{Kind: Run, ID: "late", Command: &spec})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, control); err != nil { // to its end
				t.Fatal(err)
			}
			in, err := c.request(Request{Kind: Input, ID: "late"})
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if err := in.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the other end of the late input: %v", err)
			}
		},
		"a client that leaves a command behind": func(t *testing.T, c *Client) {
			spec := shell("sleep 60")
			spec.Input = true
			if _, err := c.request(Request{Kind: Run, ID: "left", Command: &spec}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, ended := relayed(t, &Server{HangupGrace: 100 * time.Millisecond})
			use(t, c)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			gomega.NewWithT(t).Eventually(ended, "10s", "10ms").Should(gomega.BeClosed())
		})
	}
}
