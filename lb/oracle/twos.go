package oracle

import "github.com/ipvslab/ipvslab/lb"

// powerOfTwo is twos (ip_vs_twos.c): two draws by weight, of which the less
// loaded wins, the first of equals.
type powerOfTwo struct{ never }

func (powerOfTwo) pick(t *table, _ Conn) *dest {
	among, sum := drawable(t)
	if len(among) == 0 {
		return nil
	}
	// The kernel draws from 0 to sum, both included.
	return better(t, drawn(among, t.random(sum+1)), drawn(among, t.random(sum+1)))
}

func drawable(t *table) (among []*dest, sum int) {
	for _, d := range t.dests {
		if d.usable() {
			among = append(among, d)
			sum += int(d.weight)
		}
	}
	return among, sum
}

// drawn is the first destination up to which the weights add up to r.
func drawn(among []*dest, r int) *dest {
	for _, d := range among {
		if r -= int(d.weight); r <= 0 {
			return d
		}
	}
	return among[len(among)-1]
}

func better(t *table, a, b *dest) *dest {
	// int in the kernel: the product wraps at 32 bits.
	oa, ob := int32(a.overhead(t.variant.Overhead)), int32(b.overhead(t.variant.Overhead))
	if b.weight*oa > a.weight*ob {
		return b
	}
	return a
}

// Share is a destination's part of the next pick.
type Share struct {
	Dest        lb.DestKey `json:"dest"`
	Probability float64    `json:"probability"`
}

// Distribution is the exact probability with which each destination gets the
// next connection, in list order; destinations that can't get it are left out.
// It is meant for twos. The list's first destination has a slightly larger part
// than its weight says, because the draw of 0 falls to it too. For all other
// schedulers it returns nil: they leave nothing to chance.
func (m *Model) Distribution() []Share {
	if m.service.Scheduler != "twos" {
		return nil
	}
	among, sum := drawable(&m.table)
	part := func(i int) float64 {
		w := float64(among[i].weight)
		if i == 0 {
			w++
		}
		return w / float64(sum+1)
	}
	won := map[*dest]float64{}
	for i, a := range among {
		for j, b := range among {
			won[better(&m.table, a, b)] += part(i) * part(j)
		}
	}
	shares := make([]Share, len(among))
	for i, d := range among {
		shares[i] = Share{d.key, won[d]}
	}
	return shares
}
