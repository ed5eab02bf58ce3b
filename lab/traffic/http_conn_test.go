package traffic

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// acceptOne connects to a listener of this machine.
func acceptOne(t *testing.T) (server *net.TCPConn, client net.Conn) {
	t.Helper()
	l, err := listenTCP(netip.MustParseAddr("127.0.0.1"), 0)
	must(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	t.Cleanup(func() { client.Close() })
	server, err = l.AcceptTCP()
	must(t, err)
	t.Cleanup(func() { server.Close() })
	return server, client
}

func TestConnectionsInheritKeepAlives(t *testing.T) {
	server, _ := acceptOne(t)
	raw, err := server.SyscallConn()
	must(t, err)
	for _, o := range []struct{ level, option, want int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		must(t, control(raw, func(fd int) error {
			got, err := unix.GetsockoptInt(fd, o.level, o.option)
			if err == nil && got != o.want {
				t.Errorf("option %d of level %d is %d, want %d", o.option, o.level, got, o.want)
			}
			return err
		}))
	}
}

func TestReadsAreEndedBeforeTheyBeginAndLater(t *testing.T) {
	server, client := acceptOne(t)
	c := &httpConn{TCPConn: server}
	must(t, c.SetReadDeadline(longAgo))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read that was ended before: %v, want a timeout", err)
	}
	must(t, c.SetReadDeadline(time.Time{}))

	ended := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	deadline := time.Now().Add(30 * time.Second)
	for reading := false; !reading; {
		if time.Now().After(deadline) {
			t.Fatal("the read doesn't begin")
		}
		c.mu.Lock()
		reading = c.reading
		c.mu.Unlock()
	}
	must(t, c.SetReadDeadline(longAgo))
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read that was ended while it waits: %v, want a timeout", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the read goes on")
	}

	must(t, c.SetReadDeadline(time.Time{}))
	_, err := io.WriteString(client, "x")
	must(t, err)
	got := make([]byte, 1)
	if _, err := c.Read(got); err != nil || got[0] != 'x' {
		t.Errorf("afterwards read %q, %v", got, err)
	}
}
