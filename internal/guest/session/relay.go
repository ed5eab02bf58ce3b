package session

import (
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/hashicorp/yamux"
)

// Relay serves conn by passing its streams on to the server behind c, and
// returns when conn has ended and everything it had begun there too. When a
// stream has ended at the far side, ended is called before the near side sees
// that: a client's Run does not return earlier.
func (c *Client) Relay(conn io.ReadWriteCloser, ended func()) error {
	mux, err := yamux.Server(conn, muxConfig())
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	defer mux.Close()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		near, err := mux.Accept()
		if err != nil {
			return nil // however it ended, its commands are hung up now
		}
		far, err := c.Open()
		if err != nil {
			near.Close()
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		open.Go(func() { splice(near, far, ended) })
	}
}

// splice joins two streams until both directions have ended.
func splice(near, far net.Conn, ended func()) {
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(far, near) // an error is an end
		far.Close()
	})
	if _, err := io.Copy(near, far); err != nil {
		// Nobody listens any more; the far side must still be able to finish.
		_, _ = io.Copy(io.Discard, far)
	}
	ended()
	near.Close()
	// What is on its way to a side that has ended would wait for room in its window for ever.
	_ = far.SetWriteDeadline(past)
	up.Wait()
}
