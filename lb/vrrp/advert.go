package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The protocol's fixed numbers.
const (
	Protocol = 112 // of IP; RFC 9568, section 5.1.1.4
	TTL      = 255 // of every packet, so that none comes from afar; section 5.1.1.3

	Owner  = 255 // priority of the router whose own addresses these are
	Resign = 0   // priority by which an Active router says that it stops
)

// The multicast groups of RFC 9568, section 5.1.
var (
	MulticastIPv4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	MulticastIPv6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
)

// Advert is an ADVERTISEMENT, the one kind of packet there is.
type Advert struct {
	Version  uint8 // 2 or 3
	VRID     uint8
	Priority uint8
	// Interval is the sender's; in whole seconds up to 255 s in version 2, in
	// centiseconds up to 40.95 s in version 3.
	Interval  time.Duration
	Addresses []netip.Addr // of one family; 255 at most
	AuthType  AuthType     // of version 2; version 3 has none
	Password  Password     // that goes with AuthPass
}

// The reasons for which a packet is no advertisement to act on.
var (
	ErrTTL      = errors.New("TTL or hop limit is not 255: it comes from another network")
	ErrLength   = errors.New("length does not fit its content")
	ErrVersion  = errors.New("version is not 2 or 3, or not right for IPv6")
	ErrType     = errors.New("not an ADVERTISEMENT")
	ErrChecksum = errors.New("wrong checksum")
)

const (
	typeAdvert  = 1
	headerLen   = 8
	authLen     = 8 // version 2 ends with so many bytes of authentication data
	centisecond = 10 * time.Millisecond
	maxCentis   = 1<<12 - 1
)

// Append appends the packet's bytes. Of the addresses src and dst that the IP
// header will have, version 3 makes its checksum.
//
// RFC 9568 leaves the pseudo-header out for IPv4, RFC 5798 could be read either
// way; keepalived and Wireshark put it in, and so does this.
func (a *Advert) Append(b []byte, src, dst netip.Addr) ([]byte, error) {
	if len(a.Addresses) == 0 || len(a.Addresses) > 255 {
		return b, fmt.Errorf("encode VRRP advertisement: %d addresses, want 1 to 255", len(a.Addresses))
	}
	start := len(b)
	b = append(b, a.Version<<4|typeAdvert, a.VRID, a.Priority, byte(len(a.Addresses)))
	switch {
	case a.Version == 2 && src.Is4():
		seconds := a.Interval / time.Second
		if seconds < 1 || seconds > 255 || a.Interval%time.Second != 0 {
			return b[:start], fmt.Errorf("encode VRRP advertisement: interval %v, want 1s to 255s in whole seconds", a.Interval)
		}
		b = append(b, byte(a.AuthType), byte(seconds), 0, 0)
	case a.Version == 3:
		centis := a.Interval / centisecond
		if centis < 1 || centis > maxCentis || a.Interval%centisecond != 0 {
			return b[:start], fmt.Errorf("encode VRRP advertisement: interval %v, want 10ms to 40.95s in steps of 10ms", a.Interval)
		}
		b = append(b, byte(centis>>8), byte(centis), 0, 0)
	default:
		return b[:start], fmt.Errorf("encode VRRP advertisement: %w", ErrVersion)
	}
	for _, addr := range a.Addresses {
		if addr.Is4() != src.Is4() {
			return b[:start], fmt.Errorf("encode VRRP advertisement: address %s from %s, of the other family", addr, src)
		}
		b = append(b, addr.AsSlice()...)
	}
	if a.Version == 2 {
		b = append(b, a.Password[:]...)
	}
	sum := sum(0, b[start:])
	if a.Version == 3 {
		sum += pseudoHeader(src, dst, len(b)-start)
	}
	binary.BigEndian.PutUint16(b[start+6:], ^fold(sum))
	return b, nil
}

// Parse decodes and checks the payload of an IP packet as RFC 9568, section
// 7.1, and RFC 3768, section 7.1, ask, as far as that does not need a
// configuration. Of version 3 over IPv4 both checksums are good, see [Advert.Append].
func Parse(b []byte, src, dst netip.Addr, ttl int) (Advert, error) {
	a, err := parse(b, src, dst, ttl)
	if err != nil {
		return Advert{}, fmt.Errorf("VRRP packet from %s: %w", src, err)
	}
	return a, nil
}

func parse(b []byte, src, dst netip.Addr, ttl int) (Advert, error) {
	if ttl != TTL {
		return Advert{}, ErrTTL
	}
	if len(b) < headerLen {
		return Advert{}, ErrLength
	}
	a := Advert{Version: b[0] >> 4, VRID: b[1], Priority: b[2]}
	if a.Version != 3 && (a.Version != 2 || !src.Is4()) {
		return Advert{}, ErrVersion
	}
	if b[0]&0xf != typeAdvert {
		return Advert{}, ErrType
	}
	size := src.BitLen() / 8
	want := headerLen + int(b[3])*size
	if a.Version == 2 {
		want += authLen
	}
	if len(b) != want || b[3] == 0 {
		return Advert{}, ErrLength
	}
	if !checked(b, a.Version, src, dst) {
		return Advert{}, ErrChecksum
	}
	if a.Version == 2 {
		if a.AuthType = AuthType(b[4]); a.AuthType == AuthPass {
			a.Password = Password(b[len(b)-authLen:])
		}
		a.Interval = time.Duration(b[5]) * time.Second
	} else {
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&maxCentis) * centisecond
	}
	for i := range int(b[3]) {
		addr, _ := netip.AddrFromSlice(b[headerLen+i*size:][:size])
		a.Addresses = append(a.Addresses, addr)
	}
	return a, nil
}

func checked(b []byte, version uint8, src, dst netip.Addr) bool {
	sum := sum(0, b)
	plain := fold(sum) == 0xffff
	if version == 2 {
		return plain
	}
	return fold(sum+pseudoHeader(src, dst, len(b))) == 0xffff || plain && src.Is4()
}

// sum adds up 16-bit words, RFC 1071.
func sum(start uint32, b []byte) uint32 {
	for len(b) >= 2 {
		start += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	return start
}

// pseudoHeader sums what RFC 8200, section 8.1, and RFC 768 put before a packet.
func pseudoHeader(src, dst netip.Addr, length int) uint32 {
	return sum(sum(uint32(length)+Protocol, src.AsSlice()), dst.AsSlice())
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
