package oracle

import "github.com/ipvslab/ipvslab/lb"

// dest is struct ip_vs_dest. It outlives its removal from the service: the
// kernel keeps it in a trash list and takes it out again when the same
// destination is added within about 120 s (ip_vs_ctl.c, ip_vs_trash_get_dest).
type dest struct {
	key        lb.DestKey
	weight     int32
	lastWeight int32 // the latest weight that was not 0, or the one it was added with; mh only
	upper      uint32
	lower      uint32
	active     int
	total      int // active and inactive
	persistent int // templates
	available  bool
	overloaded bool
}

// update is __ip_vs_update_dest (ip_vs_ctl.c).
func (d *dest) update(to lb.Destination, add bool, rule Overload) {
	if add || to.Weight != 0 {
		d.lastWeight = to.Weight
	}
	d.weight = to.Weight
	d.available = true
	if rule == OnCrossing {
		if d.upper != to.Upper || d.lower != to.Lower {
			d.upper, d.lower = to.Upper, to.Lower
			d.reconsider(0)
		}
		return
	}
	if to.Upper == 0 || to.Upper > d.upper {
		d.overloaded = false
	}
	d.upper, d.lower = to.Upper, to.Lower
}

// low is the threshold below which the mark is cleared, in the newer rule.
func (d *dest) low() uint32 {
	if d.lower != 0 {
		return d.lower
	}
	return d.upper - d.upper/4
}

// reconsider is __ip_vs_dest_update_overload (ip_vs_ctl.c of 6.1.183): mode is
// positive when a connection came, negative when one went, 0 on an edit.
func (d *dest) reconsider(mode int) {
	total, mark, keep := uint32(d.total), d.upper, d.low()
	if mode > 0 {
		mark = d.low()
	}
	if mode < 0 {
		keep = d.upper
	}
	switch {
	case d.upper == 0:
		d.overloaded = false
	case total >= mark:
		d.overloaded = true
	case total < keep:
		d.overloaded = false
	}
}

// bind is ip_vs_bind_dest (ip_vs_conn.c). A connection is inactive at first.
func (d *dest) bind(template bool, rule Overload) {
	if template {
		d.persistent++
	} else {
		d.total++
	}
	switch {
	case rule != OnCrossing:
		if d.upper != 0 && uint32(d.total) >= d.upper {
			d.overloaded = true
		}
	case !template && uint32(d.total) == d.upper:
		d.reconsider(+1)
	}
}

// unbind is ip_vs_unbind_dest (ip_vs_conn.c) of a connection that is no longer active.
func (d *dest) unbind(template bool, rule Overload) {
	before := uint32(d.total)
	if template {
		d.persistent--
	} else {
		d.total--
	}
	if rule == OnCrossing {
		if !template && before == d.low() {
			d.reconsider(-1)
		}
		return
	}
	total := uint32(d.total)
	switch {
	case d.lower != 0:
		d.overloaded = d.overloaded && total >= d.lower
	case d.upper != 0:
		d.overloaded = d.overloaded && total*4 >= d.upper*3
	default:
		d.overloaded = false
	}
}

// usable: neither quiesced nor overloaded.
func (d *dest) usable() bool { return d.weight > 0 && !d.overloaded }

// overhead is ip_vs_dest_conn_overhead (include/net/ip_vs.h).
func (d *dest) overhead(f Overhead) int64 {
	if f == ActiveTotal {
		return int64(d.active)*256 + int64(d.total)
	}
	return int64(d.active)*256 + int64(d.total-d.active)
}
