package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// transport reads what follows the IP headers.
func (d *decoder) transport(h *Header, data []byte) {
	switch h.Protocol {
	case ProtoTCP:
		var t layers.TCP
		if err := t.DecodeFromBytes(data, gopacket.NilDecodeFeedback); err != nil {
			d.ports(h, data) // as much as there is
			d.malformed("tcp", err)
			return
		}
		h.SrcPort, h.DstPort = uint16(t.SrcPort), uint16(t.DstPort)
		h.Flags, h.Seq, h.Ack, h.Window = Flags(data[13]), t.Seq, t.Ack, t.Window
		h.Payload -= int(t.DataOffset) * 4
	case ProtoUDP, ProtoSCTP:
		d.ports(h, data)
		header := 8
		if h.Protocol == ProtoSCTP {
			header = 12
			if len(data) > header {
				h.Chunk = Chunk(data[header])
			}
		}
		h.Payload -= header
	case ProtoICMP:
		d.icmp(h, data)
	case ProtoICMPv6:
		d.icmp6(h, data)
	}
}

// ports reads the first four bytes, which TCP, UDP and SCTP share, and TCP's
// sequence number: what an ICMP error quotes at the least (RFC 792).
func (d *decoder) ports(h *Header, data []byte) {
	if len(data) < 4 {
		return
	}
	h.SrcPort, h.DstPort = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	if h.Protocol == ProtoTCP && len(data) >= 8 {
		h.Seq = binary.BigEndian.Uint32(data[4:])
	}
}

func (d *decoder) icmp(h *Header, data []byte) {
	var i layers.ICMPv4
	if err := i.DecodeFromBytes(data, gopacket.NilDecodeFeedback); err != nil {
		d.malformed("icmp", err)
		return
	}
	h.ICMPType, h.ICMPCode = i.TypeCode.Type(), i.TypeCode.Code()
	h.Payload -= 8
	switch h.ICMPType {
	case layers.ICMPv4TypeDestinationUnreachable:
		if h.ICMPCode == layers.ICMPv4CodeFragmentationNeeded {
			h.MTU = uint32(i.Seq) // RFC 1191, section 4
		}
	case layers.ICMPv4TypeRedirect:
		h.Gateway, _ = netip.AddrFromSlice(data[4:8])
	case layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
	default:
		h.ID, h.Seq = uint32(i.Id), uint32(i.Seq) // echo
		return
	}
	d.quote(i.Payload)
}

func (d *decoder) icmp6(h *Header, data []byte) {
	if len(data) < 8 {
		return
	}
	h.ICMPType, h.ICMPCode = data[0], data[1]
	h.Payload -= 8
	switch h.ICMPType {
	case layers.ICMPv6TypePacketTooBig:
		h.MTU = binary.BigEndian.Uint32(data[4:])
		d.quote(data[8:])
	case layers.ICMPv6TypeDestinationUnreachable, layers.ICMPv6TypeTimeExceeded, layers.ICMPv6TypeParameterProblem:
		d.quote(data[8:])
	case layers.ICMPv6TypeNeighborSolicitation, layers.ICMPv6TypeNeighborAdvertisement, layers.ICMPv6TypeRedirect:
		if len(data) >= 24 {
			h.Target, _ = netip.AddrFromSlice(data[8:24])
		}
	case layers.ICMPv6TypeEchoRequest, layers.ICMPv6TypeEchoReply:
		h.ID, h.Seq = uint32(binary.BigEndian.Uint16(data[4:])), uint32(binary.BigEndian.Uint16(data[6:]))
	}
}

// quote reads the beginning of the packet that an ICMP error is about. It is
// mostly cut short, which is no fault of it.
func (d *decoder) quote(data []byte) {
	quiet := decoder{p: &Packet{}}
	h := &d.p.Quoted
	payload, ok := quiet.ip(h, data)
	if !ok {
		return
	}
	quiet.transport(h, payload)
}
