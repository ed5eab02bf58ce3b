package lb

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Mask4 is the persistence netmask of an IPv4 service in its dotted form.
func (s Service) Mask4() netip.Addr {
	if s.OddMask.Is4() {
		return s.OddMask
	}
	n := s.MaskBits
	if n == 0 || n > 32 {
		n = 32
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-n))
	return netip.AddrFrom4(b)
}

// SetMask4 sets the persistence netmask of an IPv4 service: as MaskBits if it
// is a prefix of one bit or more, else as OddMask.
func (s *Service) SetMask4(mask netip.Addr) {
	b := mask.As4()
	m := binary.BigEndian.Uint32(b[:])
	n := bits.LeadingZeros32(^m)
	s.MaskBits, s.OddMask = 0, netip.Addr{}
	switch {
	case n == 0 || m != ^uint32(0)<<(32-n):
		s.OddMask = mask
	case n < 32:
		s.MaskBits = uint8(n)
	}
}
