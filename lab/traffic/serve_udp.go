package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpServer answers each datagram with the identity, a newline and the
// datagram, from the address and port it was sent to.
type udpServer struct {
	conns []*net.UDPConn
	done  sync.WaitGroup
}

func serveUDP(r *Responder, conns []*net.UDPConn) (*udpServer, error) {
	s := &udpServer{conns: conns}
	for _, c := range conns {
		raw, err := c.SyscallConn()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", r, err), s.Close())
		}
		s.done.Go(func() {
			for answerUDP(r, raw) == nil {
			}
		})
	}
	return s, nil
}

// Close implements io.Closer.
func (s *udpServer) Close() error {
	var errs []error
	for _, c := range s.conns {
		errs = append(errs, c.Close())
	}
	s.done.Wait()
	return errors.Join(errs...)
}

type udpBuffer struct {
	data [65536]byte
	oob  [64]byte
}

var udpBuffers = sync.Pool{New: func() any { return new(udpBuffer) }}

// answerUDP waits for one datagram and answers it. Its error means that the
// socket is closed; errors of single datagrams (an ICMP error come back, a
// client without a route) are not the responder's end.
func answerUDP(r *Responder, raw syscall.RawConn) error {
	return raw.Read(func(fd uintptr) bool {
		b := udpBuffers.Get().(*udpBuffer)
		defer udpBuffers.Put(b)
		// The identity's place is left free, so that the answer goes out from one buffer.
		head := len(r.spec.Identity) + 1
		n, oobn, _, from, err := unix.Recvmsg(int(fd), b.data[head:], b.oob[:], 0)
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		if err != nil {
			return true
		}
		to := destination(b.oob[:oobn])
		r.witness(netip.AddrPortFrom(to, r.spec.Port), addrPort(from))
		copy(b.data[:], r.spec.Identity)
		b.data[head-1] = '\n'
		answer := b.data[:min(head+n, 65507)]
		// A full send buffer or an unreachable client loses the answer, as UDP may.
		_, _ = unix.SendmsgN(int(fd), answer, sourceControl(b.oob[:oobn]), from, 0)
		return true
	})
}

// destination finds the address that a datagram was sent to.
func destination(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0])).Addr)
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0])).Addr).Unmap()
		}
	}
	return netip.Addr{}
}

// sourceControl makes the control message that sends from the address a
// datagram was sent to. The interface is left to routing, as for any server.
func sourceControl(oob []byte) []byte {
	to := destination(oob)
	switch {
	case to.Is4():
		// An IPv6 socket takes this one too when the peer is IPv4 (ip_cmsg_send in net/ipv4/ip_sockglue.c).
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: to.As4()})
	case to.Is6() && !to.IsMulticast():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: to.As16()})
	}
	return nil
}
