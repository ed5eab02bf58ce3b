package oracle

// never is embedded by schedulers without state of their own.
type never struct{}

func (never) changed(*table, change) {}

// leastConnection is lc (ip_vs_lc.c): the least overhead, the first of equals;
// a weight only matters when it is 0.
type leastConnection struct{ never }

func (leastConnection) pick(t *table, _ Conn) *dest {
	var least *dest
	for _, d := range t.dests {
		if d.overloaded || d.weight == 0 {
			continue
		}
		if least == nil || d.overhead(t.variant.Overhead) < least.overhead(t.variant.Overhead) {
			least = d
		}
	}
	return least
}

// weightedLeastConnection is wlc (ip_vs_wlc.c).
type weightedLeastConnection struct{ never }

func (weightedLeastConnection) pick(t *table, _ Conn) *dest { return leastLoaded(t, t.dests) }

// leastLoaded has the least overhead per weight; the first of equals wins. The
// kernel compares products, so weights of 0 fall out by themselves.
func leastLoaded(t *table, among []*dest) *dest {
	return leastBy(among, func(d *dest) int64 { return d.overhead(t.variant.Overhead) })
}

func leastBy(among []*dest, load func(*dest) int64) *dest {
	var least *dest
	for _, d := range among {
		if !d.usable() || !d.available {
			continue
		}
		if least == nil || load(least)*int64(d.weight) > load(d)*int64(least.weight) {
			least = d
		}
	}
	return least
}

// expectedDelay is the load of sed and nq: the connection to come is counted.
func expectedDelay(d *dest) int64 { return int64(d.active) + 1 }

// shortestExpectedDelay is sed (ip_vs_sed.c).
type shortestExpectedDelay struct{ never }

func (shortestExpectedDelay) pick(t *table, _ Conn) *dest { return leastBy(t.dests, expectedDelay) }

// neverQueue is nq (ip_vs_nq.c): the first idle destination, else sed's.
type neverQueue struct{ never }

func (neverQueue) pick(t *table, _ Conn) *dest {
	for _, d := range t.dests {
		if d.usable() && d.active == 0 {
			return d
		}
	}
	return leastBy(t.dests, expectedDelay)
}

// failover is fo (ip_vs_fo.c): the highest weight, the first of equals.
type failover struct{ never }

func (failover) pick(t *table, _ Conn) *dest {
	return heaviest(t.dests, func(*dest) bool { return true })
}

// overflow is ovf (ip_vs_ovf.c): the highest weight among those that have no
// more active connections than weight, so each takes weight+1 of them.
type overflow struct{ never }

func (overflow) pick(t *table, _ Conn) *dest {
	return heaviest(t.dests, func(d *dest) bool { return d.active <= int(d.weight) })
}

func heaviest(among []*dest, fits func(*dest) bool) *dest {
	var most *dest
	for _, d := range among {
		if d.usable() && fits(d) && (most == nil || d.weight > most.weight) {
			most = d
		}
	}
	return most
}
