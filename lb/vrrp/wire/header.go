package wire

import (
	"errors"
	"fmt"

	"github.com/ipvslab/ipvslab/lb/vrrp"
)

// drainHeaders takes all packets with an authentication header (AH, RFC 2402).
// Nothing is learnt from them but that somebody means this virtual router and
// will not be understood: both would be active, and nobody would know why.
func (s *Speaker) drainHeaders(g *speaking, router int) {
	r := g.routers[router]
	for {
		p, err := r.header.receive()
		if errors.Is(err, errMalformed) {
			continue
		}
		if err != nil {
			return // EAGAIN
		}
		if r.header.expected(p) && authenticates(p.payload, r.ID) {
			r.counts.Discarded++
			s.refuse(g, r, fmt.Errorf("VRRP packet from %s, id %d, %s: %w: it is not spoken here, only PASS", p.src, r.ID, vrrp.AuthAH, vrrp.ErrAuth))
		}
	}
}

// authenticates tells whether an authentication header stands before an
// advertisement of version 2 for a virtual router.
func authenticates(b []byte, id uint8) bool {
	if len(b) < 2 || b[0] != vrrp.Protocol {
		return false
	}
	size := (int(b[1]) + 2) * 4 // RFC 2402, section 2.2
	return len(b) >= size+2 && b[size] == 2<<4|1 && b[size+1] == id
}
