package connections_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// TestSCTPStreams opens associations of the kernel's own SCTP through services
// of either method, and sees them scheduled, forwarded and followed to their
// end. What is expected of one method is not seen with the other.
func TestSCTPStreams(t *testing.T) {
	needKernel(t, "socket:sctp")
	s := upStreams(t)
	for _, v := range []struct {
		service  string
		sequence string
		rewrites bool // the director puts the real server's address for the VIP
	}{
		{"sctp-nat", "rs4 rs3 rs4 rs3", true},
		{"sctp-dr", "rs2 rs1 rs2 rs1", false},
	} {
		t.Run(v.service, func(t *testing.T) { s.in(t).associate(s.service(v.service), v.sequence, v.rewrites) })
	}
}

func (s *streams) associate(service topology.Service, sequence string, rewrites bool) {
	vip := netip.AddrPortFrom(service.Spec.Addr, service.Spec.Port)
	for i, node := range service.RealServers {
		// One address: an association of several tells the client of all of them.
		at := vip
		if rewrites {
			at = netip.AddrPortFrom(service.Spec.Destinations[i].Addr, service.Spec.Port)
		}
		s.listenSCTP(node, at)
	}
	var points []capture.Point
	for _, itf := range []string{"lan", "inside"} {
		points = append(points, capture.Point{Enter: s.node("director").Do, Options: capture.Options{Node: "director", Interface: itf}})
	}
	set, err := capture.StartAll(s.Context(), points...)
	s.must(err)
	s.Cleanup(func() { s.must(set.Stop()) })

	var names []string
	for range 4 {
		conn := s.dialSCTP(vip)
		line, err := bufio.NewReader(conn).ReadString('\n')
		s.must(err)
		name := strings.TrimSpace(line)
		names = append(names, name)
		s.expectEntry(service, conn.LocalAddr(), name, "ESTABLISHED")
		s.expectForwarded(set, service, conn.LocalAddr(), name, rewrites)
		s.must(conn.Close())
		s.expectEntry(service, conn.LocalAddr(), name, "CLOSED")
	}
	if got := strings.Join(names, " "); got != sequence {
		s.Errorf("associations went to %s, rr sends them to %s", got, sequence)
	}
}

// sctpSocket is a one-to-one style socket of a node's (sctp(7)), bound to an address.
func (s *streams) sctpSocket(node string, at netip.AddrPort) int {
	s.Helper()
	fd := -1
	s.must(s.node(node).Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	}))
	s.must(unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}))
	return fd
}

// listenSCTP answers with the node's name. Package net takes the socket for a
// TCP one, and that will do.
func (s *streams) listenSCTP(node string, at netip.AddrPort) {
	s.Helper()
	// A kernel without the digest for cookies doesn't listen (sctp_listen_start).
	s.sysctl(node, "net.sctp.cookie_hmac_alg", "none")
	fd := s.sctpSocket(node, at)
	s.must(unix.Listen(fd, 8))
	file := os.NewFile(uintptr(fd), "sctp "+node)
	listener, err := net.FileListener(file)
	s.must(err)
	s.must(file.Close())
	s.Cleanup(func() { s.must(listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				fmt.Fprintln(conn, node)
				_, _ = io.Copy(io.Discard, conn) // until the client closes
			}()
		}
	}()
}

func (s *streams) dialSCTP(to netip.AddrPort) net.Conn {
	s.Helper()
	client := s.node("client").Plan().Interfaces[0].Addresses[0].Prefix.Addr()
	fd := s.sctpSocket("client", netip.AddrPortFrom(client, 0))
	limit := unix.NsecToTimeval((5 * time.Second).Nanoseconds())
	s.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)) // of connect too
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		s.Fatalf("associate with %s: %v", to, err)
	}
	file := os.NewFile(uintptr(fd), "sctp client")
	conn, err := net.FileConn(file)
	s.must(err)
	s.must(file.Close())
	s.must(conn.SetDeadline(time.Now().Add(5 * time.Second)))
	return conn
}

// expectEntry waits for the director's entry to be at the real server that
// answered, in a state.
func (s *streams) expectEntry(service topology.Service, client net.Addr, name, state string) {
	s.Helper()
	from := netip.MustParseAddrPort(client.String())
	d := service.Spec.Destinations[slices.Index(service.RealServers, name)]
	var mine []lb.Conn
	s.await("entry of "+client.String()+" in "+state, func() bool {
		all, err := s.table.Conns(context.WithoutCancel(s.Context()))
		s.must(err)
		mine = slices.DeleteFunc(all, func(c lb.Conn) bool { return c.Client != from })
		return len(mine) == 1 && mine[0].State == state
	})
	if got, want := mine[0].Real, netip.AddrPortFrom(d.Addr, service.Spec.Port); got != want || mine[0].Protocol != lb.SCTP {
		s.Errorf("%s answered, but the director's entry is %s; want %s", name, mine[0], want)
	}
}

// expectForwarded looks for the association's first packet as it left the director.
func (s *streams) expectForwarded(set capture.Set, service topology.Service, client net.Addr, name string, rewrites bool) {
	s.Helper()
	from := netip.MustParseAddrPort(client.String())
	vip := netip.AddrPortFrom(service.Spec.Addr, service.Spec.Port)
	real := netip.AddrPortFrom(service.Spec.Destinations[slices.Index(service.RealServers, name)].Addr, service.Spec.Port)
	count := func(to netip.AddrPort) int {
		return len(set.Find(func(p capture.Packet) bool {
			return p.Protocol == capture.ProtoSCTP && p.Direction == capture.Out && p.Source() == from && p.Destination() == to
		}))
	}
	toVIP, toReal := count(vip), count(real)
	if rewrites && (toReal == 0 || toVIP > 0) || !rewrites && (toVIP == 0 || toReal > 0) {
		s.Errorf("%s of %s: %d packets left the director for the VIP, %d for %s", service.Name, from, toVIP, toReal, real)
	}
}
