package capture

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
)

// Direction is a packet's, as the interface sees it.
type Direction string

// The directions.
const (
	In  Direction = "in"
	Out Direction = "out"
)

// MAC is an Ethernet address.
type MAC [6]byte

// String is the usual form, in lower case.
func (m MAC) String() string {
	parts := make([]string, len(m))
	for i, b := range m {
		parts[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(parts, ":")
}

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Encapsulation is what carries one IP packet in another.
type Encapsulation string

// The encapsulations that IPVS tunnels with.
const (
	IPIP Encapsulation = "ipip" // any IP in any IP: protocols 4 and 41
	GRE  Encapsulation = "gre"
	GUE  Encapsulation = "gue"
)

// IP protocol numbers, as in Header.Protocol.
const (
	ProtoICMP   = 1
	ProtoIPv4   = 4
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoIPv6   = 41
	ProtoGRE    = 47
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// Flags are TCP's, in the bits of the header.
type Flags uint8

// The flags.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has tells whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// String is tcpdump's form: "S", "S.", "P.", "F.", "R".
func (f Flags) String() string {
	var b strings.Builder
	for _, x := range []struct {
		flag Flags
		c    byte
	}{{SYN, 'S'}, {FIN, 'F'}, {RST, 'R'}, {PSH, 'P'}, {URG, 'U'}, {ECE, 'E'}, {CWR, 'W'}, {ACK, '.'}} {
		if f&x.flag != 0 {
			b.WriteByte(x.c)
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// Header is what a packet's IP and transport headers say. Fields that a
// protocol doesn't have, or that were cut off, are zero.
type Header struct {
	Version  uint8      `json:"version"` // 4 or 6; zero: no IP packet
	Src      netip.Addr `json:"src"`
	Dst      netip.Addr `json:"dst"`
	Protocol uint8      `json:"protocol"` // of what follows the IP headers
	TTL      uint8      `json:"ttl"`      // hop limit
	TOS      uint8      `json:"tos,omitempty"`
	ID       uint32     `json:"id,omitempty"` // of the IP packet; of an ICMP echo, the echo's
	DF       bool       `json:"df,omitempty"`
	More     bool       `json:"more,omitempty"`     // more fragments follow
	Fragment uint16     `json:"fragment,omitempty"` // offset in bytes; if not zero there is no transport header
	Length   int        `json:"length"`             // of the IP packet in bytes, by its header

	SrcPort uint16 `json:"srcPort,omitempty"`
	DstPort uint16 `json:"dstPort,omitempty"`
	Flags   Flags  `json:"flags,omitempty"`
	Seq     uint32 `json:"seq,omitempty"`
	Ack     uint32 `json:"ack,omitempty"`
	Window  uint16 `json:"window,omitempty"`
	Payload int    `json:"payload,omitempty"` // bytes after the transport header
	Chunk   Chunk  `json:"chunk,omitempty"`   // SCTP: the first chunk's type

	ICMPType uint8      `json:"icmpType,omitempty"`
	ICMPCode uint8      `json:"icmpCode,omitempty"`
	MTU      uint32     `json:"mtu,omitempty"`    // of "fragmentation needed" and "packet too big"
	Target   netip.Addr `json:"target,omitzero"`  // of neighbour discovery
	Gateway  netip.Addr `json:"gateway,omitzero"` // of an ICMP redirect
}

// Source is address and port.
func (h Header) Source() netip.AddrPort { return netip.AddrPortFrom(h.Src, h.SrcPort) }

// Destination is address and port.
func (h Header) Destination() netip.AddrPort { return netip.AddrPortFrom(h.Dst, h.DstPort) }

// IsSYN tells a connection's first packet, SYN without ACK.
func (h Header) IsSYN() bool { return h.Protocol == ProtoTCP && h.Flags&(SYN|ACK|RST) == SYN }

// IsSYNACK tells the answer to a SYN.
func (h Header) IsSYNACK() bool { return h.Protocol == ProtoTCP && h.Flags.Has(SYN|ACK) }

// ARP is an ARP packet (RFC 826); Op 1 asks, 2 answers.
type ARP struct {
	Op        uint16     `json:"op"`
	SenderMAC MAC        `json:"senderMAC"`
	TargetMAC MAC        `json:"targetMAC"`
	Sender    netip.Addr `json:"sender"`
	Target    netip.Addr `json:"target"`
}

// Packet is a packet's summary. Packets are comparable with ==.
type Packet struct {
	Time      time.Time `json:"time"`
	Node      string    `json:"node,omitempty"`
	Interface string    `json:"interface,omitempty"`
	Direction Direction `json:"direction"`
	SrcMAC    MAC       `json:"srcMAC"` // zero on a device without Ethernet
	DstMAC    MAC       `json:"dstMAC"`
	EtherType uint16    `json:"etherType"`
	Size      int       `json:"size"` // in bytes, from the link header on

	Header                  // the outermost IP header
	Encap     Encapsulation `json:"encap,omitempty"`
	EncapPort uint16        `json:"encapPort,omitempty"` // GUE's UDP port
	Inner     Header        `json:"inner,omitzero"`      // what Encap carries
	Quoted    Header        `json:"quoted,omitzero"`     // what an ICMP error is about
	ARP       ARP           `json:"arp,omitzero"`        //
	Malformed string        `json:"malformed,omitempty"` // why decoding stopped early
}

// Innermost is the header of the packet as its end points know it: the one
// inside a tunnel's, or the only one.
func (p Packet) Innermost() Header {
	if p.Encap != "" {
		return p.Inner
	}
	return p.Header
}
