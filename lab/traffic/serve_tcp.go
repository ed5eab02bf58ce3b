package traffic

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Commands to the TCP and SCTP responders: the last line of what it reads.
const (
	commandClose = "close" // the server closes first (FIN)
	commandReset = "reset" // the server resets (RST)
)

// tcpServer greets with the identity and a newline, then echoes what it gets,
// until a line holds a command or the client closes. It serves SCTP sockets of
// the one-to-one style as well, which package net takes for TCP's.
type tcpServer struct {
	greeting  []byte
	listeners []*net.TCPListener
	done      sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[*net.TCPConn]struct{}
}

func serveTCP(r *Responder, listeners []*net.TCPListener) *tcpServer {
	s := &tcpServer{
		greeting:  []byte(r.spec.Identity + "\n"),
		listeners: listeners,
		conns:     make(map[*net.TCPConn]struct{}),
	}
	for _, l := range listeners {
		s.done.Go(func() {
			for {
				c, err := (witnessed{l, r}).acceptTCP()
				if err != nil {
					return // closed
				}
				if s.keep(c) {
					s.done.Go(func() { s.serve(c) })
				}
			}
		})
	}
	return s
}

// Close implements io.Closer.
func (s *tcpServer) Close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		errs = append(errs, c.Close())
	}
	clear(s.conns)
	s.mu.Unlock()
	s.done.Wait()
	return errors.Join(errs...)
}

func (s *tcpServer) keep(c *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *tcpServer) drop(c *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ours := s.conns[c]; ours {
		delete(s.conns, c)
		c.Close()
	}
}

// echoBuffers are held only while there is something to read: twenty thousand
// idle connections then cost their goroutines and nothing more.
var echoBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

func (s *tcpServer) serve(c *net.TCPConn) {
	defer s.drop(c)
	if _, err := c.Write(s.greeting); err != nil {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for s.echo(c, raw) {
	}
}

// echo waits for something to read, answers it, and tells whether to go on.
func (s *tcpServer) echo(c *net.TCPConn, raw syscall.RawConn) (more bool) {
	var buf *[16 << 10]byte
	n := 0
	err := raw.Read(func(fd uintptr) bool {
		buf = echoBuffers.Get().(*[16 << 10]byte)
		var err error
		n, err = unix.Read(int(fd), buf[:])
		if errors.Is(err, unix.EAGAIN) {
			echoBuffers.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf == nil {
		return false
	}
	defer echoBuffers.Put(buf)
	if err != nil || n <= 0 {
		return false
	}
	echo, command := splitCommand(buf[:n])
	if _, err := c.Write(echo); err != nil {
		return false
	}
	if command == commandReset {
		_ = c.SetLinger(0) // fails only on a connection that is gone already
	}
	return command == ""
}

// splitCommand takes a command off the end of what was read.
func splitCommand(data []byte) (echo []byte, command string) {
	line := bytes.TrimRight(data, "\r\n")
	start := bytes.LastIndexByte(line, '\n') + 1
	switch c := string(line[start:]); c {
	case commandClose, commandReset:
		return data[:start], c
	}
	return data, ""
}
