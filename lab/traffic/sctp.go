package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// An association of several addresses tells its peer of all of them, and would
// go past the director by those that are not the VIP. So both ends bind one.

// readySCTP has new sockets report what ICMP says of a connection that isn't
// made yet, as TCP does by itself (sctp_v4_err and sctp_v6_err: without
// IP_RECVERR it is kept for later), and finds the address they come from. It
// runs inside the namespace.
func (s *stock) readySCTP(family int) error {
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if family == unix.AF_INET6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	for _, fd := range s.fds {
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return fmt.Errorf("ask for ICMP errors: %w", err)
		}
	}
	if s.local.IsValid() || len(s.spec.Sources) > 0 {
		return nil
	}
	s.local, s.noRoute = sourceTowards(family, s.spec.To)
	return nil
}

// sourceTowards is the address that this namespace sends from to another; a
// UDP socket that connects sends nothing.
func sourceTowards(family int, to netip.AddrPort) (netip.AddrPort, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find source address: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return netip.AddrPort{}, fmt.Errorf("find source address towards %s: %w", to, err)
	}
	return netip.AddrPortFrom(rawSource(fd).Addr(), 0), nil
}

// listenSCTP listens with a one-to-one style socket (sctp(7)).
func listenSCTP(addr netip.Addr, port uint16) (*net.TCPListener, error) {
	l, err := tryListenSCTP(addr, port)
	if !errors.Is(err, unix.ENOSYS) {
		return l, err
	}
	if err := unsignedCookies(); err != nil {
		return nil, err
	}
	return tryListenSCTP(addr, port) // a socket keeps the digest that it was made with (sctp_init_sock)
}

func tryListenSCTP(addr netip.Addr, port uint16) (*net.TCPListener, error) {
	fd, err := bindSocket(unix.SOCK_STREAM, unix.IPPROTO_SCTP, addr, port)
	if err != nil {
		return nil, err
	}
	return listen(fd)
}

// cookieSetting names the digest that a listener's cookies are signed with.
const cookieSetting = "/proc/sys/net/sctp/cookie_hmac_alg"

// unsignedCookies makes do without a digest in this namespace: a kernel that
// has not got the one that is set doesn't listen (sctp_listen_start).
func unsignedCookies() error {
	if err := os.WriteFile(cookieSetting, []byte("none"), 0); err != nil {
		return fmt.Errorf("do without a digest for cookies: %w", err)
	}
	have, err := os.ReadFile(cookieSetting)
	if err == nil && strings.TrimSpace(string(have)) != "none" {
		err = fmt.Errorf("%s stayed %q", cookieSetting, have)
	}
	if err != nil {
		return fmt.Errorf("do without a digest for cookies: %w", err)
	}
	return nil
}
