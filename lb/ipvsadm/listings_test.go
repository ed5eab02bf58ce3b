package ipvsadm_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lb/ipvs"
)

// TestListings compares every listing of one and the same table, so that the
// kernel's own order and its counters are the same for both.
func TestListings(t *testing.T) {
	needReal(t)
	t.Run("table", func(t *testing.T) {
		inTable(t, "testdata/listings/table.txt", func(table *ipvs.Table) { compareListings(t, table) })
	})
	t.Run("traffic", func(t *testing.T) {
		inTable(t, "testdata/listings/traffic.txt", func(table *ipvs.Table) {
			sendTraffic(t, table)
			compareListings(t, table)
		})
	})
}

// inTable makes a file's services in a fresh namespace.
func inTable(t *testing.T, path string, fn func(*ipvs.Table)) {
	inNamespace(t, func() error {
		table, err := ipvs.Open(t.Context(), "")
		if err != nil {
			return err
		}
		defer table.Close()
		for _, s := range readSequences(t, path) {
			for _, c := range s.lines {
				if o := ours(t, table, c); o != (outcome{}) {
					t.Errorf("%s: %+v", c, o)
				}
			}
		}
		fn(table)
		return nil
	})
}

func compareListings(t *testing.T, table *ipvs.Table) {
	var lines []string
	for _, view := range []string{"", "--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info"} {
		for _, more := range []string{"", "--exact", "--nosort", "--nosort --exact"} {
			lines = append(lines, "-L "+view+" "+more, "-L -n "+view+" "+more)
		}
	}
	lines = append(lines, "-S", "-Sn", "-L --timeout", "-L --daemon", "-Lc", "-Lnc",
		"-Lnc --persistent-conn", "-Lc --persistent-conn",
		"-L -n -t 10.1.1.1:80 --stats", "-L -n -t 10.1.1.1:81 --rate --exact", "-L -t 10.1.1.1:81", "-L -n --nosort -t 10.0.0.1:80")
	for _, line := range lines {
		c := commandLine{argv: program(strings.Fields(line))}
		// Timers and counters may move between the two; one pair in a row must agree.
		deadline := time.Now().Add(20 * time.Second)
		var want, got outcome
		for {
			if want, got = real(t, table, c), ours(t, table, c); want == got || time.Now().After(deadline) {
				break
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-real +ours):\n%s", c, d)
		}
		if testing.Verbose() && slices.Contains([]string{"-L -n --stats ", "-Lnc --persistent-conn"}, line) {
			t.Logf("%s\n%s", c, got.Stdout)
		}
	}
}

// sendTraffic makes connections in several states, and counters beyond 100 million.
func sendTraffic(t *testing.T, table *ipvs.Table) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"10.1.1.1/32", "2001:db8::1/128"} {
		if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: prefix(a), Flags: unix.IFA_F_NODAD}); err != nil {
			t.Fatal(err)
		}
	}
	packet(t, "10.1.1.1:53", "x")
	packet(t, "10.1.1.1:54", "x")
	packet(t, "[2001:db8::1]:53", "x")
	packet(t, "10.1.1.1:5060", "REGISTER sip:a SIP/2.0\r\nCall-ID: f81d4fae@192.168.1.103\r\nContent-Length: 0\r\n\r\n")
	for range 3 {
		attempt(t, "10.1.1.1:81")
	}
	const bytes = 110 << 20 // more than nine digits hold
	transfer(t, "127.0.0.1:8080", "10.1.1.1:80", bytes)
	awaitCounters(t, table, bytes)
}

// awaitCounters waits until the kernel has counted n bytes, which it does every 2 s.
func awaitCounters(t *testing.T, table *ipvs.Table, n uint64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		services, err := table.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range services {
			if s.Counters.InBytes >= n {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no service has counted %d bytes: %+v", n, services)
		}
	}
}

func prefix(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// sockaddr is where a raw system call connects to; the calls below stay on the
// thread, and so in the namespace.
func sockaddr(s string) (unix.Sockaddr, int) {
	a := netip.MustParseAddrPort(s)
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}, unix.AF_INET6
}

func open(t *testing.T, family, kind int) int {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// packet sends one datagram; nobody needs to be there.
func packet(t *testing.T, to, data string) {
	addr, family := sockaddr(to)
	if err := unix.Sendto(open(t, family, unix.SOCK_DGRAM), []byte(data), 0, addr); err != nil {
		t.Logf("send to %s: %v", to, err) // no route to the real server; the entry is made all the same
	}
}

// attempt starts a TCP connection and doesn't wait for it.
func attempt(t *testing.T, to string) {
	addr, family := sockaddr(to)
	err := unix.Connect(open(t, family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK), addr)
	if err != nil && err != unix.EINPROGRESS {
		t.Logf("connect to %s: %v", to, err)
	}
}

// transfer sends n bytes through a virtual service to a listener in the same
// namespace, and leaves the connection open.
func transfer(t *testing.T, server, service string, n int) {
	at, family := sockaddr(server)
	l := open(t, family, unix.SOCK_STREAM)
	client := open(t, family, unix.SOCK_STREAM)
	if err := unix.Bind(l, at); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	to, _ := sockaddr(service)
	if err := unix.Connect(client, to); err != nil {
		t.Fatalf("connect to %s: %v", service, err)
	}
	conn, _, err := unix.Accept(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(conn) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	received := make(chan int, 1)
	go func() {
		b, sum := make([]byte, 1<<16), 0
		for sum < n {
			k, err := syscall.Read(conn, b)
			if err != nil || k == 0 {
				break
			}
			sum += k
		}
		received <- sum
	}()
	b := make([]byte, 1<<16)
	for sent := 0; sent < n; {
		k, err := unix.Write(client, b[:min(len(b), n-sent)])
		if err != nil {
			t.Fatalf("write: %v", err)
		}
		sent += k
	}
	select {
	case sum := <-received:
		if sum != n {
			t.Fatalf("received %d bytes of %d: %v", sum, n, io.ErrUnexpectedEOF)
		}
	case <-ctx.Done():
		t.Fatal("transfer: ", ctx.Err())
	}
}
