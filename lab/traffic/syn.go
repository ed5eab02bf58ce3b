package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// SYNSpec says which bare SYNs to send.
type SYNSpec struct {
	To netip.AddrPort `json:"to"`
	// Sources are taken in turn, one SYN each; a port of zero becomes 1024 + index.
	Sources []netip.AddrPort `json:"sources"`
	Count   int              `json:"count,omitempty"` // zero: one for each of Sources
	Rate    float64          `json:"rate,omitempty"`  // per second; zero: no bound
}

// SYN sends single SYN segments that nothing follows, each one packet exactly:
// no socket stands behind it that would send it again. It returns the number
// sent. The kernel routes and resolves as for its own packets, but lets the
// source be any address (IP_HDRINCL in raw(7), and the same in IPv6).
//
// The answers must not find their way to a kernel that owns the source
// address: it would reset the connection. So take sources that no node owns
// and that are routed to this one, which, not forwarding, drops them.
func SYN(ctx context.Context, enter Enter, s SYNSpec) (sent int, err error) {
	if len(s.Sources) == 0 {
		return 0, errors.New("send syn: no source addresses")
	}
	if s.Count == 0 {
		s.Count = len(s.Sources)
	}
	family := unix.AF_INET6
	if s.To.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	var fd int
	err = enter.run(func() error {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("send syn: open raw socket: %w", err)
	}
	defer unix.Close(fd)
	to := sockaddr(netip.AddrPortFrom(s.To.Addr(), 0)) // a raw socket takes no port, raw(7)
	started := time.Now()
	for ; sent < s.Count; sent++ {
		if err := pace(ctx, started, sent, s.Rate); err != nil {
			return sent, err
		}
		source := s.Sources[sent%len(s.Sources)]
		if source.Port() == 0 {
			source = netip.AddrPortFrom(source.Addr(), uint16(1024+sent%64512))
		}
		segment, err := synPacket(source, s.To, uint32(sent)<<12|1)
		if err != nil {
			return sent, err
		}
		if err := unix.Sendto(fd, segment, 0, to); err != nil {
			return sent, fmt.Errorf("send syn from %s to %s: %w", source, s.To, err)
		}
	}
	return sent, nil
}

// pace waits until the n-th of rate per second is due.
func pace(ctx context.Context, started time.Time, n int, rate float64) error {
	if rate > 0 {
		due := time.Until(started.Add(time.Duration(float64(n) / rate * float64(time.Second))))
		if due > 0 {
			select {
			case <-time.After(due):
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

func synPacket(from, to netip.AddrPort, seq uint32) ([]byte, error) {
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: seq, SYN: true, Window: 64240,
		Options: []layers.TCPOption{{
			OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, 1400),
		}},
	}
	src, dst := net.IP(from.Addr().Unmap().AsSlice()), net.IP(to.Addr().Unmap().AsSlice())
	var ip gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	if to.Addr().Unmap().Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: src, DstIP: dst}
		ip, network = v4, v4
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: src, DstIP: dst}
		ip, network = v6, v6
	}
	if err := tcp.SetNetworkLayerForChecksum(network); err != nil {
		return nil, fmt.Errorf("make syn: %w", err)
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, options, ip, tcp); err != nil {
		return nil, fmt.Errorf("make syn: %w", err)
	}
	return buf.Bytes(), nil
}
