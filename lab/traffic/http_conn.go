package traffic

import (
	"net"
	"os"
	"sync"
	"time"
)

// httpListener hands out connections that package http ends its reads of
// without a system call.
type httpListener struct{ witnessed }

// Accept implements net.Listener.
func (l httpListener) Accept() (net.Conn, error) {
	c, err := l.acceptTCP()
	if err != nil {
		return nil, err
	}
	return &httpConn{TCPConn: c}, nil
}

// httpConn knows one thing about its user: as long as a request is answered,
// package http has a goroutine that is to read, so as to notice when the client
// goes away; and to end that, it sets a deadline long ago. Mostly that goroutine
// has not run yet. Then a note does, in place of a deadline, for which package
// net would read the clock twice.
type httpConn struct {
	*net.TCPConn

	mu      sync.Mutex
	reading bool
	ended   bool // a Read to come returns at once
}

// longAgo is package http's aLongTimeAgo.
var longAgo = time.Unix(1, 0)

// SetReadDeadline implements net.Conn.
func (c *httpConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = !c.reading && t.Equal(longAgo)
	if c.ended {
		return nil
	}
	return c.TCPConn.SetReadDeadline(t)
}

// Read implements net.Conn.
func (c *httpConn) Read(p []byte) (int, error) {
	if !c.begin() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.TCPConn.Read(p)
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	return n, err
}

// begin tells whether a Read may go on.
func (c *httpConn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = !c.ended
	return c.reading
}
