package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/ipvslab/ipvslab/lb/vrrp"
	"golang.org/x/sys/unix"
)

// internetControl is the precedence of routing protocols (RFC 791; CS6 in RFC 4594).
const internetControl = 0xc0

// priorityControl is TC_PRIO_CONTROL: before everything else in a queue.
const priorityControl = 7

// socket sends and receives the packets of one virtual router.
type socket struct {
	fd    int
	index int // of the interface
	v6    bool
	src   netip.Addr
	peers []netip.Addr // none: multicast
	buf   []byte
	oob   []byte
}

// openSocket opens a raw socket for an IP protocol in the namespace of the calling thread.
func openSocket(protocol int, device string, index int, src netip.Addr, peers []netip.Addr) (*socket, error) {
	family := unix.AF_INET
	if src.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open VRRP socket on %s: %w", device, err)
	}
	s := &socket{fd: fd, index: index, v6: src.Is6(), src: src, peers: peers, buf: make([]byte, 4096), oob: make([]byte, 256)}
	if err := errors.Join(unix.BindToDevice(fd, device), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priorityControl), s.prepare()); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare VRRP socket on %s: %w", device, err), s.close())
	}
	return s, nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// prepare sets what RFC 9568, section 5.1, says of the IP header, and joins the group.
func (s *socket) prepare() error {
	set := func(level, option, value int) error { return unix.SetsockoptInt(s.fd, level, option, value) }
	if s.v6 {
		errs := []error{
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, vrrp.TTL), set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, vrrp.TTL),
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0), set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, s.index),
			set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1), set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
			set(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, internetControl),
		}
		if len(s.peers) == 0 {
			mreq := &unix.IPv6Mreq{Multiaddr: vrrp.MulticastIPv6.As16(), Interface: uint32(s.index)}
			errs = append(errs, unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq))
		}
		return errors.Join(errs...)
	}
	mreq := &unix.IPMreqn{Multiaddr: vrrp.MulticastIPv4.As4(), Address: s.src.As4(), Ifindex: int32(s.index)}
	errs := []error{
		set(unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, vrrp.TTL), set(unix.IPPROTO_IP, unix.IP_TTL, vrrp.TTL),
		set(unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0), set(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0),
		set(unix.IPPROTO_IP, unix.IP_TOS, internetControl),
		unix.SetsockoptIPMreqn(s.fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, mreq),
	}
	if len(s.peers) == 0 {
		errs = append(errs, unix.SetsockoptIPMreqn(s.fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, mreq))
	}
	return errors.Join(errs...)
}

// send sends an advertisement to the multicast group, or to every peer.
func (s *socket) send(a vrrp.Advert) error {
	to := s.peers
	if len(to) == 0 {
		to = []netip.Addr{vrrp.MulticastIPv4}
		if s.v6 {
			to[0] = vrrp.MulticastIPv6
		}
	}
	var errs []error
	for _, dst := range to {
		b, err := a.Append(nil, s.src, dst)
		if err == nil {
			_, err = unix.SendmsgN(s.fd, b, s.source(), s.address(dst), unix.MSG_DONTWAIT)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("send advertisement to %s: %w", dst, err))
		}
	}
	return errors.Join(errs...)
}

func (s *socket) address(a netip.Addr) unix.Sockaddr {
	if !s.v6 {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: uint32(s.index)}
}

// source is the ancillary data that chooses a packet's source address (ip(7), ipv6(7)).
func (s *socket) source() []byte {
	if s.v6 {
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: s.src.As16(), Ifindex: uint32(s.index)})
	}
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: s.src.As4(), Ifindex: int32(s.index)})
}

// packet is one that was received.
type packet struct {
	src, dst netip.Addr
	ttl      int
	payload  []byte // valid until the next receive
}

// receive takes one packet from the socket; EAGAIN: there is none.
func (s *socket) receive() (packet, error) {
	n, oobn, _, from, err := unix.Recvmsg(s.fd, s.buf, s.oob, unix.MSG_DONTWAIT)
	if err != nil {
		return packet{}, err
	}
	if s.v6 {
		return s.packet6(s.buf[:n], s.oob[:oobn], from)
	}
	return packet4(s.buf[:n])
}

var errMalformed = errors.New("malformed packet")

// packet4 takes the IP header off, which raw sockets of IPv4 hand on (raw(7)).
func packet4(b []byte) (packet, error) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return packet{}, errMalformed
	}
	head := int(b[0]&0xf) * 4
	if head < 20 || len(b) < head {
		return packet{}, errMalformed
	}
	return packet{
		src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])),
		ttl: int(b[8]), payload: b[head:],
	}, nil
}

// packet6 finds the header's content in the ancillary data (ipv6(7)).
func (s *socket) packet6(b, oob []byte, from unix.Sockaddr) (packet, error) {
	sa, ok := from.(*unix.SockaddrInet6)
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || !ok {
		return packet{}, errMalformed
	}
	p := packet{src: netip.AddrFrom16(sa.Addr), payload: b}
	for _, m := range messages {
		switch {
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			p.ttl = int(*(*int32)(unsafe.Pointer(&m.Data[0])))
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			p.dst = netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	if !p.dst.IsValid() {
		return packet{}, errMalformed
	}
	return p, nil
}

// expected tells whether a packet is from and to whom it should be.
func (s *socket) expected(p packet) bool {
	if len(s.peers) == 0 {
		return p.dst == vrrp.MulticastIPv4 || p.dst == vrrp.MulticastIPv6
	}
	for _, peer := range s.peers {
		if peer == p.src {
			return true
		}
	}
	return false
}
