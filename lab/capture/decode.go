package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Decode reads a frame from a device of the given type (ARPHRD_*; 1 is
// Ethernet). UDP to or from one of guePorts is taken for GUE.
func Decode(f Frame, linkType uint16, guePorts []uint16) Packet {
	p := Packet{Time: f.Time, Direction: f.Direction, Size: f.Length}
	d := decoder{p: &p, guePorts: guePorts}
	data := f.Data
	if ethernet(linkType) {
		var eth layers.Ethernet
		if err := eth.DecodeFromBytes(data, gopacket.NilDecodeFeedback); err != nil {
			d.malformed("ethernet", err)
			return p
		}
		copy(p.SrcMAC[:], eth.SrcMAC)
		copy(p.DstMAC[:], eth.DstMAC)
		p.EtherType = uint16(eth.EthernetType)
		data = eth.Payload
	} else if len(data) > 0 {
		p.EtherType = uint16(layers.EthernetTypeIPv4)
		if data[0]>>4 == 6 {
			p.EtherType = uint16(layers.EthernetTypeIPv6)
		}
	}
	switch layers.EthernetType(p.EtherType) {
	case layers.EthernetTypeARP:
		d.arp(data)
	case layers.EthernetTypeIPv4, layers.EthernetTypeIPv6:
		d.outer(data)
	}
	return p
}

type decoder struct {
	p        *Packet
	guePorts []uint16
}

func (d *decoder) malformed(what string, err error) {
	if d.p.Malformed == "" {
		d.p.Malformed = fmt.Sprintf("%s: %v", what, err)
	}
}

func (d *decoder) arp(data []byte) {
	var a layers.ARP
	if err := a.DecodeFromBytes(data, gopacket.NilDecodeFeedback); err != nil {
		d.malformed("arp", err)
		return
	}
	d.p.ARP.Op = a.Operation
	copy(d.p.ARP.SenderMAC[:], a.SourceHwAddress)
	copy(d.p.ARP.TargetMAC[:], a.DstHwAddress)
	d.p.ARP.Sender, _ = netip.AddrFromSlice(a.SourceProtAddress)
	d.p.ARP.Target, _ = netip.AddrFromSlice(a.DstProtAddress)
}

// outer reads the outermost IP packet and, when it is a tunnel's, the one inside.
func (d *decoder) outer(data []byte) {
	payload, ok := d.ip(&d.p.Header, data)
	if !ok {
		return
	}
	payload = d.whole(&d.p.Header, data, payload)
	inner := d.unwrap(&d.p.Header, payload)
	if inner == nil {
		d.transport(&d.p.Header, payload)
		return
	}
	if payload, ok = d.ip(&d.p.Inner, inner); ok {
		d.transport(&d.p.Inner, payload)
	}
}

// whole gives a GUE packet's payload in full. When the kernel takes one apart it
// writes the inner packet's length into the outer header (net/ipv4/fou_core.c,
// fou_recv_pull), and a packet that goes from one namespace to the next is still
// the one that is captured: UDP's own length is to be believed.
func (d *decoder) whole(h *Header, data, payload []byte) []byte {
	if h.Protocol != ProtoUDP || len(payload) < 8 || !slices.Contains(d.guePorts, binary.BigEndian.Uint16(payload[2:])) {
		return payload
	}
	rest := data[cap(data)-cap(payload):]
	cut := int(binary.BigEndian.Uint16(payload[4:])) - len(payload)
	if cut <= 0 || len(payload)+cut > len(rest) {
		return payload
	}
	h.Length += cut
	h.Payload += cut
	return rest[:len(payload)+cut]
}

// ip reads an IP header and gives what follows. A packet cut short, as in an
// ICMP error, is read as far as it goes.
func (d *decoder) ip(h *Header, data []byte) (payload []byte, ok bool) {
	if len(data) == 0 {
		d.malformed("ip", fmt.Errorf("empty packet"))
		return nil, false
	}
	if data[0]>>4 == 6 {
		return d.ip6(h, data)
	}
	var ip layers.IPv4
	if err := ip.DecodeFromBytes(data, gopacket.NilDecodeFeedback); err != nil {
		d.malformed("ipv4", err)
		return nil, false
	}
	h.Version, h.TTL, h.TOS, h.Protocol, h.ID = 4, ip.TTL, ip.TOS, uint8(ip.Protocol), uint32(ip.Id)
	h.Src, _ = netip.AddrFromSlice(ip.SrcIP)
	h.Dst, _ = netip.AddrFromSlice(ip.DstIP)
	h.DF, h.More = ip.Flags&layers.IPv4DontFragment != 0, ip.Flags&layers.IPv4MoreFragments != 0
	h.Fragment = ip.FragOffset * 8
	h.Length = int(binary.BigEndian.Uint16(data[2:]))
	if h.Length == 0 { // a segmentation-offload packet over 64 KiB
		h.Length = len(data)
	}
	h.Payload = h.Length - int(ip.IHL)*4
	return ip.Payload, h.Fragment == 0
}

func (d *decoder) ip6(h *Header, data []byte) (payload []byte, ok bool) {
	var ip layers.IPv6
	if err := ip.DecodeFromBytes(data, gopacket.NilDecodeFeedback); err != nil {
		d.malformed("ipv6", err)
		return nil, false
	}
	h.Version, h.TTL, h.TOS = 6, ip.HopLimit, ip.TrafficClass
	h.Src, _ = netip.AddrFromSlice(ip.SrcIP)
	h.Dst, _ = netip.AddrFromSlice(ip.DstIP)
	h.Length = 40 + int(ip.Length)
	// The headers are walked here, since gopacket takes the hop-by-hop one away only.
	next, rest := data[6], data[40:]
	rest = rest[:min(len(rest), max(int(binary.BigEndian.Uint16(data[4:])), 0))]
	h.Payload = h.Length - 40
	for {
		size := 0
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options (RFC 8200, section 4)
			if len(rest) >= 8 {
				size = 8 * (1 + int(rest[1]))
			}
		case 44: // fragment
			if len(rest) >= 8 {
				size = 8
				offset := binary.BigEndian.Uint16(rest[2:])
				h.Fragment, h.More, h.ID = offset&^7, offset&1 != 0, binary.BigEndian.Uint32(rest[4:])
			}
		default:
			h.Protocol = next
			return rest, h.Fragment == 0
		}
		if size == 0 || size > len(rest) {
			d.malformed("ipv6", fmt.Errorf("extension header %d is cut short", next))
			return nil, false
		}
		next, rest = rest[0], rest[size:]
		h.Payload -= size
	}
}

// unwrap gives the packet inside a tunnel's, nil when there is none.
func (d *decoder) unwrap(h *Header, payload []byte) []byte {
	switch h.Protocol {
	case ProtoIPv4, ProtoIPv6:
		d.p.Encap = IPIP
		return payload
	case ProtoGRE:
		var g layers.GRE
		if err := g.DecodeFromBytes(payload, gopacket.NilDecodeFeedback); err != nil {
			d.malformed("gre", err)
			return nil
		}
		if g.Protocol != layers.EthernetTypeIPv4 && g.Protocol != layers.EthernetTypeIPv6 {
			return nil
		}
		d.p.Encap = GRE
		return g.Payload
	case ProtoUDP:
		return d.gue(h, payload)
	}
	return nil
}

// gue reads Generic UDP Encapsulation (draft-ietf-intarea-gue, include/net/gue.h):
// variant 0 has a header of its own, variant 1 is IP at once.
func (d *decoder) gue(h *Header, payload []byte) []byte {
	if len(payload) < 12 {
		return nil
	}
	port := binary.BigEndian.Uint16(payload[2:])
	if !slices.Contains(d.guePorts, port) {
		return nil
	}
	body := payload[8:]
	switch {
	case body[0]>>6 == 1:
	case body[0]>>6 == 0 && body[0]&0x20 == 0 && (body[1] == ProtoIPv4 || body[1] == ProtoIPv6):
		size := 4 + 4*int(body[0]&0x1f)
		if size >= len(body) {
			d.malformed("gue", fmt.Errorf("header of %d bytes is cut short", size))
			return nil
		}
		body = body[size:]
	default: // control messages, other protocols
		return nil
	}
	h.SrcPort, h.DstPort = binary.BigEndian.Uint16(payload), port
	h.Payload -= 8
	d.p.Encap, d.p.EncapPort = GUE, port
	return body
}
