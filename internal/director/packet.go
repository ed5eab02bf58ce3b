package director

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ipvslab/ipvslab/lb"
)

// Flags are the TCP flags that a state machine looks at (ip_vs_proto_tcp.c).
type Flags uint8

// The flags.
const (
	SYN Flags = 1 << iota
	ACK
	FIN
	RST
)

// Chunk is the type of an SCTP packet's only chunk (RFC 9260, section 3.2).
type Chunk uint8

// The chunks that a state machine looks at (ip_vs_proto_sctp.c, sctp_events).
const (
	Data             Chunk = 0
	Init             Chunk = 1
	InitAck          Chunk = 2
	Abort            Chunk = 6
	Shutdown         Chunk = 7
	ShutdownAck      Chunk = 8
	CookieEcho       Chunk = 10
	CookieAck        Chunk = 11
	ShutdownComplete Chunk = 14
)

// Packet is a TCP segment, UDP datagram or SCTP packet.
type Packet struct {
	Protocol     lb.Protocol
	Src, Dst     netip.AddrPort
	Flags        Flags // TCP only
	Chunk        Chunk // SCTP only
	Size         int   // bytes of payload, all zero
	DontFragment bool  // IPv4 only
}

// Reverse is the packet that answers.
func (p Packet) Reverse(f Flags) Packet {
	return Packet{Protocol: p.Protocol, Src: p.Dst, Dst: p.Src, Flags: f}
}

// Bytes is the packet from its IP header on.
func (p Packet) Bytes() ([]byte, error) {
	var ip gopacket.NetworkLayer
	var header gopacket.SerializableLayer
	number := layers.IPProtocol(p.Protocol)
	if p.Src.Addr().Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: number, SrcIP: p.Src.Addr().AsSlice(), DstIP: p.Dst.Addr().AsSlice()}
		if p.DontFragment {
			v4.Flags = layers.IPv4DontFragment
		}
		ip, header = v4, v4
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: number, SrcIP: p.Src.Addr().AsSlice(), DstIP: p.Dst.Addr().AsSlice()}
		ip, header = v6, v6
	}
	var segment gopacket.SerializableLayer
	switch p.Protocol {
	case lb.TCP:
		t := &layers.TCP{SrcPort: layers.TCPPort(p.Src.Port()), DstPort: layers.TCPPort(p.Dst.Port()), Window: 1024, SYN: p.Flags&SYN != 0, ACK: p.Flags&ACK != 0, FIN: p.Flags&FIN != 0, RST: p.Flags&RST != 0}
		if err := t.SetNetworkLayerForChecksum(ip); err != nil {
			return nil, err
		}
		segment = t
	case lb.UDP:
		u := &layers.UDP{SrcPort: layers.UDPPort(p.Src.Port()), DstPort: layers.UDPPort(p.Dst.Port())}
		if err := u.SetNetworkLayerForChecksum(ip); err != nil {
			return nil, err
		}
		segment = u
	case lb.SCTP:
		segment = &layers.SCTP{SrcPort: layers.SCTPPort(p.Src.Port()), DstPort: layers.SCTPPort(p.Dst.Port()), VerificationTag: 1}
	default:
		return nil, fmt.Errorf("build packet: protocol %v is not supported", p.Protocol)
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	err := gopacket.SerializeLayers(buf, options, header, segment, gopacket.Payload(p.payload()))
	return buf.Bytes(), err
}

// payload is what follows the transport header: in SCTP a chunk of that size.
func (p Packet) payload() []byte {
	if p.Protocol != lb.SCTP {
		return make([]byte, p.Size)
	}
	chunk := make([]byte, 4+max(p.Size, 16)) // INIT has 16 bytes of its own
	chunk[0] = byte(p.Chunk)
	binary.BigEndian.PutUint16(chunk[2:], uint16(len(chunk)))
	return chunk
}

// Fate is what became of a client's packet.
type Fate string

// The fates.
const (
	Forwarded Fate = "forwarded" // to a real server
	Refused   Fate = "refused"   // with an ICMP "port unreachable"
	Lost      Fate = "lost"      // nothing came of it within the patience
)

// patience is for a kernel that hands a packet to a thread of its own, as it does
// with what comes out of a tunnel when it is busy. It is only used up where a
// packet is lost. It is counted in waits of a millisecond, not in time: a guest
// may stand still for longer than any of them, and then its threads do, too.
const patience = 20

// Offer sends a client's packet to a VIP, and tells what became of it and
// where it went, which for NAT is the destination that was chosen.
func (d *Director) Offer(p Packet) (Fate, lb.DestKey, error) {
	raw, err := p.Bytes()
	if err != nil {
		return Lost, lb.DestKey{}, err
	}
	if err := d.client.send(raw); err != nil {
		return Lost, lb.DestKey{}, err
	}
	for left := patience; ; {
		if fate, to, err := d.fate(p); fate != Lost || err != nil {
			return fate, to, err
		}
		if ok, err := wait(&left, d.client, d.server); !ok || err != nil {
			return Lost, lb.DestKey{}, err
		}
	}
}

// fate looks through what is on the wires for signs of a packet.
func (d *Director) fate(p Packet) (Fate, lb.DestKey, error) {
	for {
		raw, err := d.server.receive()
		if err != nil {
			return Lost, lb.DestKey{}, err
		}
		if raw == nil {
			break
		}
		if seen, ok := parse(raw); ok && seen.Src == p.Src {
			return Forwarded, lb.DestKey{Addr: seen.Dst.Addr(), Port: seen.Dst.Port()}, nil
		}
	}
	for {
		raw, err := d.client.receive()
		if err != nil || raw == nil {
			return Lost, lb.DestKey{}, err
		}
		if quoted, ok := parse(unreachable(raw)); ok && quoted.Src == p.Src && quoted.Dst == p.Dst {
			return Refused, lb.DestKey{}, nil
		}
	}
}

// Answer sends a real server's packet, and drops what comes of it.
func (d *Director) Answer(p Packet) error {
	raw, err := p.Bytes()
	if err != nil {
		return err
	}
	if err := d.server.send(raw); err != nil {
		return err
	}
	_, _, err = d.fate(Packet{})
	return err
}

// parse reads addresses and ports; false for anything but TCP, UDP and SCTP.
func parse(raw []byte) (p Packet, ok bool) {
	if len(raw) == 0 {
		return p, false
	}
	var src, dst netip.Addr
	var segment []byte
	switch {
	case raw[0]>>4 == 4 && len(raw) >= 20:
		src, dst = netip.AddrFrom4([4]byte(raw[12:16])), netip.AddrFrom4([4]byte(raw[16:20]))
		p.Protocol, segment = lb.Protocol(raw[9]), raw[min(int(raw[0]&15)*4, len(raw)):]
	case raw[0]>>4 == 6 && len(raw) >= 40:
		src, dst = netip.AddrFrom16([16]byte(raw[8:24])), netip.AddrFrom16([16]byte(raw[24:40]))
		p.Protocol, segment = lb.Protocol(raw[6]), raw[40:]
	}
	if p.Protocol != lb.TCP && p.Protocol != lb.UDP && p.Protocol != lb.SCTP || len(segment) < 4 {
		return p, false
	}
	p.Src = netip.AddrPortFrom(src, uint16(segment[0])<<8|uint16(segment[1]))
	p.Dst = netip.AddrPortFrom(dst, uint16(segment[2])<<8|uint16(segment[3]))
	return p, true
}

// unreachable is the packet quoted by a "port unreachable": type 3 code 3 of
// ICMP (RFC 792), type 1 code 4 of ICMPv6 (RFC 4443). Nil for anything else.
func unreachable(raw []byte) []byte {
	switch {
	case len(raw) >= 28 && raw[0] == 0x45 && raw[9] == 1 && raw[20] == 3 && raw[21] == 3:
		return raw[28:]
	case len(raw) >= 48 && raw[0]>>4 == 6 && raw[6] == 58 && raw[40] == 1 && raw[41] == 4:
		return raw[48:]
	}
	return nil
}
