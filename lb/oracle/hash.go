package oracle

import (
	"encoding/binary"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

// buckets is the size of the tables of dh and sh (CONFIG_IP_VS_DH_TAB_BITS and
// CONFIG_IP_VS_SH_TAB_BITS, 8 in every distribution's kernel seen).
const (
	bucketBits = 8
	buckets    = 1 << bucketBits
)

// hash32 is hash_32 of include/linux/hash.h: multiplicative hashing by the
// golden ratio, of which the upper bits are kept.
func hash32(v uint32, bits int) uint32 { return v * 0x61C88647 >> (32 - bits) }

// fold makes one word of an address: IPv6 is the XOR of its four words. The
// family is the service's, as in the kernel, not the address's own.
func fold(f lb.Family, a netip.Addr) uint32 {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	w := binary.BigEndian.Uint32(b[:4])
	if f == lb.IPv6 {
		for i := 4; i < 16; i += 4 {
			w ^= binary.BigEndian.Uint32(b[i:])
		}
	}
	return w
}

// destinationHash is dh (ip_vs_dh.c): the destinations in list order, over and
// over, whatever their weights. An edit does not refill the table.
type destinationHash struct{ table [buckets]*dest }

func (s *destinationHash) changed(t *table, c change) {
	if c.kind == edited {
		return
	}
	for i := range s.table {
		s.table[i] = nil
		if n := len(t.dests); n > 0 {
			s.table[i] = t.dests[i%n]
		}
	}
}

func (s *destinationHash) pick(t *table, c Conn) *dest {
	return ifUsable(s.table[hash32(fold(t.family, c.Virtual.Addr()), bucketBits)])
}

func ifUsable(d *dest) *dest {
	if d == nil || !d.usable() {
		return nil
	}
	return d
}

// sourceHash is sh (ip_vs_sh.c): each destination has as many buckets in a row
// as its weight, one at least.
type sourceHash struct{ table [buckets]*dest }

func (s *sourceHash) changed(t *table, _ change) {
	at, taken := 0, int32(0)
	for i := range s.table {
		s.table[i] = nil
		if len(t.dests) == 0 {
			continue
		}
		d := t.dests[at]
		s.table[i] = d
		if taken++; taken >= d.weight {
			at, taken = (at+1)%len(t.dests), 0
		}
	}
}

// The flags of sh and mh (ip_vs_sh.c, ip_vs_mh.c).
const (
	fallback   = lb.Sched1 // look further when the choice is not available
	sourcePort = lb.Sched2 // hash the client's port too
)

// pick looks at the client's bucket. With sh-fallback it goes on through all
// the table; as the kernel adds the first index to the hash once more, it does
// not go on from the neighbour but from the bucket at twice the index.
func (s *sourceHash) pick(t *table, c Conn) *dest {
	v := fold(t.family, c.Client.Addr())
	if t.flags&sourcePort != 0 {
		v += uint32(c.Client.Port())
	}
	first := hash32(v, bucketBits)
	d := s.table[first]
	if d == nil || d.usable() || t.flags&fallback == 0 {
		return ifUsable(d)
	}
	for i := range uint32(buckets) {
		if d := s.table[(2*first+i)%buckets]; d.usable() {
			return d
		}
	}
	return nil
}
