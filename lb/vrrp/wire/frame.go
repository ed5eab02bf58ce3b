package wire

import (
	"encoding/binary"
	"net"
	"net/netip"
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	etherARP   = 0x0806
	etherIPv6  = 0x86dd
	headerIPv6 = 40
	icmpv6     = 58
	naLen      = 32 // neighbour advertisement with one option
)

// announcement is the Ethernet frame that tells everybody on a link where an
// address is now.
func announcement(mac net.HardwareAddr, a netip.Addr) []byte {
	if a.Is4() {
		return gratuitousARP(mac, a)
	}
	return unsolicitedNA(mac, a)
}

// gratuitousARP is the request of RFC 5944, section 4.6: neighbours that know
// the address, learn its new place (net/ipv4/arp.c: arp_is_garp).
func gratuitousARP(mac net.HardwareAddr, a netip.Addr) []byte {
	b := ethernet(broadcast, mac, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, lengths, request
	b = append(b, mac...)
	b = append(b, a.AsSlice()...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, a.AsSlice()...)
}

// unsolicitedNA is the neighbour advertisement of RFC 4861, section 7.2.6, with
// the flags of RFC 9568, section 6.4.1: router, not solicited, override.
func unsolicitedNA(mac net.HardwareAddr, a netip.Addr) []byte {
	all := netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 1})
	b := ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, naLen, icmpv6, 255)
	b = append(b, a.AsSlice()...)
	b = append(b, all.AsSlice()...)
	body := len(b)
	b = append(b, 136, 0, 0, 0, 0xa0, 0, 0, 0)
	b = append(b, a.AsSlice()...)
	b = append(b, 2, 1) // target link-layer address, in units of 8 bytes
	b = append(b, mac...)
	sum := uint32(naLen + icmpv6)
	for _, part := range [][]byte{a.AsSlice(), all.AsSlice(), b[body:]} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[body+2:], ^uint16(sum))
	return b
}

func ethernet(dst, src net.HardwareAddr, kind uint16) []byte {
	b := append(append(make([]byte, 0, 96), dst...), src...)
	return binary.BigEndian.AppendUint16(b, kind)
}
