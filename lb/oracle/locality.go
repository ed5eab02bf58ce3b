package oracle

import (
	"net/netip"
	"slices"
	"time"
)

// crowded tells whether d has more active connections than weight while some
// destination of the service is less than half full (is_overloaded in
// ip_vs_lblc.c and ip_vs_lblcr.c; it has nothing to do with the thresholds).
func crowded(t *table, d *dest) bool {
	return d.active > int(d.weight) && slices.ContainsFunc(t.dests, func(o *dest) bool {
		return o.active*2 < int(o.weight)
	})
}

// locality is lblc (ip_vs_lblc.c): each virtual address stays with one
// destination as long as that is present, not quiesced and not crowded. The
// thresholds only bear on the choice of a new one.
type locality struct {
	never
	cache map[netip.Addr]*dest
}

func (s *locality) pick(t *table, c Conn) *dest {
	vip := c.Virtual.Addr()
	if d := s.cache[vip]; d != nil && d.available && d.weight > 0 && !crowded(t, d) {
		return d
	}
	d := leastLoaded(t, t.dests)
	if d != nil {
		if s.cache == nil {
			s.cache = map[netip.Addr]*dest{}
		}
		s.cache[vip] = d
	}
	return d
}

func (s *locality) holds(d *dest) bool {
	for _, cached := range s.cache {
		if cached == d {
			return true
		}
	}
	return false
}

// localitySets is lblcr (ip_vs_lblcr.c): each virtual address has a set of
// destinations, which grows when its least loaded one is crowded and loses its
// most loaded one when it has not changed for lblcr_expiration.
type localitySets struct {
	never
	sets map[netip.Addr]*destSet
}

type destSet struct {
	dests   []*dest // newest first
	changed time.Duration
}

// defaultExpiration is DEFAULT_EXPIRATION of ip_vs_lblcr.c.
const defaultExpiration = 24 * time.Hour

func (s *localitySets) pick(t *table, c Conn) *dest {
	vip := c.Virtual.Addr()
	set := s.sets[vip]
	if set != nil {
		d := leastLoaded(t, set.dests)
		set.shrink(t)
		if d != nil && !crowded(t, d) {
			return d
		}
	}
	d := leastLoaded(t, t.dests)
	if d == nil {
		return nil
	}
	if set == nil {
		if s.sets == nil {
			s.sets = map[netip.Addr]*destSet{}
		}
		set = &destSet{}
		s.sets[vip] = set
	}
	if !slices.Contains(set.dests, d) {
		set.dests = slices.Insert(set.dests, 0, d)
		set.changed = t.now
	}
	return d
}

// shrink drops the set's most loaded destination when it is time.
func (s *destSet) shrink(t *table) {
	expiration := t.variant.Settings.LBLCRExpiration
	if expiration == 0 {
		expiration = defaultExpiration
	}
	if len(s.dests) < 2 || t.now <= s.changed+expiration {
		return
	}
	if d := mostLoaded(t, s.dests); d != nil {
		s.dests = slices.Delete(s.dests, slices.Index(s.dests, d), slices.Index(s.dests, d)+1)
		s.changed = t.now
	}
}

// mostLoaded is ip_vs_dest_set_max: overload and presence do not matter.
func mostLoaded(t *table, among []*dest) *dest {
	var most *dest
	load := func(d *dest) int64 { return d.overhead(t.variant.Overhead) }
	for _, d := range among {
		if d.weight <= 0 {
			continue
		}
		if most == nil || load(most)*int64(d.weight) < load(d)*int64(most.weight) {
			most = d
		}
	}
	return most
}

func (s *localitySets) holds(d *dest) bool {
	for _, set := range s.sets {
		if slices.Contains(set.dests, d) {
			return true
		}
	}
	return false
}
