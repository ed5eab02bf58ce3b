package oracle

import (
	"math/bits"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

// maglevSize is the number of slots of mh: primes[4] for
// CONFIG_IP_VS_MH_TAB_INDEX=12, the default.
const maglevSize = 4093

// The two hash keys of mh, written into the kernel's source
// (ip_vs_mh.c, generate_hash_secret).
const (
	maglevKey1 = 2654435761
	maglevKey2 = 2654446892
)

// maglev is mh (ip_vs_mh.c), after Eisenbud and others, "Maglev", NSDI 2016,
// section 3.4. It is built from each destination's latest weight above 0, so
// quiescing one moves nobody else's clients; its own are refused.
type maglev struct{ table [maglevSize]*dest }

// preference is a destination's walk through the table.
type preference struct {
	next, skip uint32
	turns      int32 // slots taken in a row
}

func (s *maglev) changed(t *table, _ change) {
	clear(s.table[:])
	prefs := preferences(t)
	if prefs == nil {
		return
	}
	for filled := 0; ; {
		for i, d := range t.dests {
			p := &prefs[i]
			for range p.turns {
				for s.table[p.next] != nil {
					p.next = (p.next + p.skip) % maglevSize
				}
				s.table[p.next] = d
				if filled++; filled == maglevSize {
					return
				}
			}
		}
	}
}

// preferences are nil when no destination has ever had a weight.
func preferences(t *table) []preference {
	step, top := int32(0), int32(0)
	for _, d := range t.dests {
		step = gcd(d.lastWeight, step)
		top = max(top, d.lastWeight)
	}
	if step < 1 {
		return nil
	}
	// Six bits of weight are kept: IP_VS_MH_TAB_BITS is 12/2.
	shift := max(bits.Len32(uint32(top/step))-6, 0)
	prefs := make([]preference, len(t.dests))
	for i, d := range t.dests {
		turns := d.lastWeight / step >> shift
		if turns == 0 && d.lastWeight != 0 {
			turns = 1
		}
		prefs[i] = preference{
			next:  maglevHash(t.family, d.key.Addr, d.key.Port, maglevKey1, 0) % maglevSize,
			skip:  maglevHash(t.family, d.key.Addr, d.key.Port, maglevKey2, 0)%(maglevSize-1) + 1,
			turns: turns,
		}
	}
	return prefs
}

// pick takes the client's slot; mh-fallback hashes again with an offset that
// begins at the slot's number, until it meets a usable destination.
func (s *maglev) pick(t *table, c Conn) *dest {
	var port uint16
	if t.flags&sourcePort != 0 {
		port = c.Client.Port()
	}
	slot := func(offset uint32) uint32 {
		return maglevHash(t.family, c.Client.Addr(), port, maglevKey1, offset) % maglevSize
	}
	first := slot(0)
	d := s.table[first]
	if d == nil || d.usable() || t.flags&fallback == 0 {
		return ifUsable(d)
	}
	for i := range uint32(maglevSize) {
		if d := s.table[slot((first+i)%maglevSize)]; d.usable() {
			return d
		}
	}
	return nil
}

func maglevHash(f lb.Family, a netip.Addr, port uint16, key uint64, offset uint32) uint32 {
	return hsiphash(offset+uint32(port)+fold(f, a), key)
}

// hsiphash is hsiphash_1u32 of lib/siphash.c on a 64-bit kernel: SipHash-1-3
// of four bytes, with both words of the key the same.
func hsiphash(v uint32, key uint64) uint32 {
	v0, v1 := 0x736f6d6570736575^key, 0x646f72616e646f6d^key
	v2, v3 := 0x6c7967656e657261^key, 0x7465646279746573^key
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	m := 4<<56 | uint64(v)
	v3 ^= m
	round()
	v0 ^= m
	v2 ^= 0xff
	for range 3 {
		round()
	}
	return uint32(v0 ^ v1 ^ v2 ^ v3)
}
