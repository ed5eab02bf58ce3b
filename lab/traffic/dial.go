package traffic

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"
)

// stockSize is how many sockets are made at one visit to the namespace: the
// visit locks a thread and costs two setns(2).
const stockSize = 64

// stock holds sockets made inside the namespace and not yet used. A socket
// stays in the namespace it was made in, whoever connects it.
type stock struct {
	enter   Enter
	spec    Spec
	to      *rawAddr
	local   netip.AddrPort // SCTP: where associations come from that no source was told for
	noRoute error          // SCTP: why there is no such address; the kernel would try in silence
	port    uint16         // not TCP: the last one that was bound without being told
	fds     []int
}

// take hands out a socket; hint is how many more will be wanted.
func (s *stock) take(hint int) (int, error) {
	if len(s.fds) == 0 {
		if err := s.enter.run(func() error { return s.fill(min(max(hint, 1), stockSize)) }); err != nil {
			return -1, fmt.Errorf("make %s socket: %w", s.spec.Protocol, err)
		}
	}
	fd := s.fds[len(s.fds)-1]
	s.fds = s.fds[:len(s.fds)-1]
	return fd, nil
}

func (s *stock) fill(n int) error {
	family, kind := unix.AF_INET6, unix.SOCK_STREAM
	if s.spec.To.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	protocol := 0
	switch s.spec.Protocol {
	case UDP:
		kind = unix.SOCK_DGRAM
	case SCTP:
		protocol = unix.IPPROTO_SCTP
	}
	for range n {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
		if err != nil {
			return err
		}
		s.fds = append(s.fds, fd)
	}
	if s.spec.Protocol == SCTP {
		return s.readySCTP(family)
	}
	return nil
}

func (s *stock) close() error {
	var errs []error
	for _, fd := range s.fds {
		errs = append(errs, unix.Close(fd))
	}
	s.fds = nil
	return errors.Join(errs...)
}

// dropEverything is a classic BPF program that accepts no packet. On a TCP
// socket it runs before TCP sees a segment, and what it drops is not answered
// (tcp_filter in net/ipv4/tcp_ipv4.c).
var dropEverything = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}

// dial starts connecting fd; nil means started or done.
func (s *stock) dial(fd int, source netip.AddrPort) error {
	if s.spec.HalfOpen {
		prog := unix.SockFprog{Len: 1, Filter: &dropEverything[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
			return fmt.Errorf("set SO_ATTACH_FILTER: %w", err)
		}
	}
	if !source.IsValid() {
		if s.noRoute != nil {
			return s.noRoute
		}
		source = s.local
	}
	switch {
	case source.Port() == 0 && (s.spec.Protocol == SCTP || s.spec.Protocol == UDP):
		if err := s.bindNextPort(fd, source.Addr()); err != nil {
			return err
		}
	case source.IsValid():
		if err := bindSource(fd, s.spec.Protocol, source); err != nil {
			return err
		}
	}
	err := rawConnect(fd, s.to)
	if errors.Is(err, unix.EINPROGRESS) {
		return nil
	}
	return err
}

// The ports that the kernel, too, takes by default (ip-sysctl, ip_local_port_range).
const firstPort, lastPort = 32768, 60999

// bindNextPort binds the ports of an address, or of any, in turn. A director that
// still has the entry of an earlier use would take a new connection for the old
// one. TCP has TIME_WAIT, and takes ports in turn; SCTP may hand out a port again as
// soon as its association has ended, and UDP draws them (udp_lib_get_port): of 34
// datagrams, two have the same port once in fifty times.
func (s *stock) bindNextPort(fd int, addr netip.Addr) error {
	if s.port == 0 {
		s.port = uint16(firstPort + rand.IntN(lastPort-firstPort+1))
	}
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified()
		if s.spec.To.Addr().Unmap().Is4() {
			addr = netip.IPv4Unspecified()
		}
	}
	for range lastPort - firstPort + 1 {
		if s.port++; s.port > lastPort {
			s.port = firstPort
		}
		err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(addr, s.port)))
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	return fmt.Errorf("bind a port of %s: %w", addr, unix.EADDRINUSE)
}

// bindSource binds the source address. With IP_BIND_ADDRESS_NO_PORT (ip(7))
// the port is chosen at connect, so that one address has a full range of ports
// for each destination.
func bindSource(fd int, protocol string, source netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if source.Port() == 0 && (protocol == TCP || protocol == HTTP) {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
	}
	return unix.Bind(fd, sockaddr(source))
}

// openOne opens the next connection. Its error is the client's own; one that
// the kernel refuses to open is a finished connection.
func (l *loop) openOne(hint int) error {
	fd, err := l.stock.take(hint)
	if err != nil {
		return err
	}
	c := &conn{fd: fd, slot: -1}
	c.rec.Index = l.opened
	if n := len(l.spec.Sources); n > 0 {
		c.rec.Source = l.spec.Sources[l.opened%n]
	}
	l.opened++
	l.tick()
	c.rec.Opened = l.now
	c.deadline = l.now + l.spec.Timeout
	if !l.spec.SumsOnly {
		l.records = append(l.records, Connection{})
	}
	l.waiting++
	if err := l.stock.dial(fd, c.rec.Source); err != nil {
		c.failWith(l, err)
		return nil
	}
	if !l.spec.SumsOnly {
		c.rec.Source = rawSource(fd)
	}
	l.queue = append(l.queue, c)
	c.begin(l)
	return nil
}
