package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The family of a socket is said and not left to package net, which probes once
// per process, in whichever namespace comes first, whether there is IPv6, and
// a namespace whose lo is still down says no for all the others.

// anyAddr in a bind stands for every address of both families.
var anyAddr = netip.Addr{}

// bindSocket makes a socket of the given type bound to addr:port. The zero
// Addr binds both families, or IPv4 alone where the kernel has no IPv6.
func bindSocket(kind, protocol int, addr netip.Addr, port uint16) (fd int, err error) {
	family, bind := unix.AF_INET6, addr
	if addr == anyAddr {
		bind = netip.IPv6Unspecified()
	} else if addr.Unmap().Is4() {
		family, bind = unix.AF_INET, addr.Unmap()
	}
	fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if errors.Is(err, unix.EAFNOSUPPORT) && addr == anyAddr {
		return bindSocket(kind, protocol, netip.IPv4Unspecified(), port)
	}
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if err := prepareBind(fd, family, addr != anyAddr); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(bind, port))); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}

func prepareBind(fd, family int, v6only bool) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if family != unix.AF_INET6 {
		return nil
	}
	only := 0
	if v6only {
		only = 1
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
		return fmt.Errorf("set IPV6_V6ONLY: %w", err)
	}
	return nil
}

// listenTCP listens with the longest queue the namespace allows (net.core.somaxconn).
// The zero Addr stands for both families, or IPv4 alone where the kernel has no IPv6.
func listenTCP(addr netip.Addr, port uint16) (*net.TCPListener, error) {
	network, bind := "tcp6", addr
	if addr == anyAddr {
		bind = netip.IPv6Unspecified()
	} else if addr.Unmap().Is4() {
		network, bind = "tcp4", addr.Unmap()
	}
	config := net.ListenConfig{
		KeepAlive: -1, // not for each connection, see below
		Control: func(_, _ string, raw syscall.RawConn) error {
			return control(raw, func(fd int) error { return prepareListen(fd, addr == anyAddr && network == "tcp6") })
		},
	}
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), network, netip.AddrPortFrom(bind, port).String())
	if errors.Is(err, unix.EAFNOSUPPORT) && addr == anyAddr {
		return listenTCP(netip.IPv4Unspecified(), port)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return nil, op.Err // the address is named by the caller
	}
	if err != nil {
		return nil, err
	}
	tcp := l.(*net.TCPListener)
	if err := lengthenQueue(tcp); err != nil {
		tcp.Close()
		return nil, err
	}
	return tcp, nil
}

// prepareListen sets what package net doesn't. Connections inherit the
// listener's keep-alives (tcp(7)): nothing is left to be set on each of them.
// The numbers are those of package net.
func prepareListen(fd int, bothFamilies bool) error {
	for _, o := range []struct {
		name                 string
		level, option, value int
	}{
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	if bothFamilies {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return fmt.Errorf("set IPV6_V6ONLY: %w", err)
		}
	}
	return nil
}

// lengthenQueue listens once more: package net asks for the limit of the
// namespace that it happened to be in the first time.
func lengthenQueue(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return control(raw, func(fd int) error {
		if err := unix.Listen(fd, longestQueue); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		return nil
	})
}

// longestQueue is more than net.core.somaxconn, which the kernel cuts it down to.
const longestQueue = 65535

// control runs fn on a socket.
func control(raw syscall.RawConn, fn func(fd int) error) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = fn(int(fd)) })
	return errors.Join(err, failed)
}

// listen lets a bound socket listen, and hands it to package net.
func listen(fd int) (*net.TCPListener, error) {
	if err := unix.Listen(fd, longestQueue); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen: %w", err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("poll listener: %w", err)
	}
	return l.(*net.TCPListener), nil
}

// listenUDP makes a socket that learns each datagram's destination address
// (IP_PKTINFO in ip(7), IPV6_RECVPKTINFO in ipv6(7)).
func listenUDP(addr netip.Addr, port uint16) (*net.UDPConn, error) {
	fd, err := bindSocket(unix.SOCK_DGRAM, 0, addr, port)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "udp")
	defer f.Close()
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
		return nil, fmt.Errorf("read socket's family: %w", err)
	} else if family == unix.AF_INET {
		level, option = unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return nil, fmt.Errorf("ask for destination addresses: %w", err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("poll socket: %w", err)
	}
	return c.(*net.UDPConn), nil
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if a := ap.Addr().Unmap(); a.Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
