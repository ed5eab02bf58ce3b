package oracle

import "time"

// Overhead is the formula for a destination's load in lc, wlc, lblc, lblcr
// and twos (include/net/ip_vs.h, ip_vs_dest_conn_overhead).
type Overhead string

// The formulas.
const (
	// ActiveInactive is active*256 + inactive: all kernels until Linux
	// 6.1.182. It is what the zero value stands for.
	ActiveInactive Overhead = "active*256+inactive"
	// ActiveTotal is active*256 + total, so an active connection weighs 257:
	// mainline commit 04d2feaed8d0, Linux 6.1.183.
	ActiveTotal Overhead = "active*256+total"
)

// Overload is the rule by which a destination with thresholds is marked
// overloaded and gets no new connections (ip_vs_conn.c, ip_vs_ctl.c).
type Overload string

// The rules.
const (
	// OnBind marks on every bind that leaves total >= upper. An unbind clears
	// when total < lower, or, lower being 0, when total*4 < upper*3. An edit
	// clears when upper grows or becomes 0, and never marks. It is what the
	// zero value stands for.
	OnBind Overload = "on-bind"
	// OnCrossing marks when total reaches upper and clears when it falls below
	// lower (or below upper-upper/4, lower being 0). An edit that changes a
	// threshold marks or clears by the same comparison at once. Linux 6.1.183.
	OnCrossing Overload = "on-crossing"
)

// Variant is what differs between kernels, and the settings that bear on
// scheduling. The zero value is a kernel before 6.1.183 with default settings.
// Distributions carry back-ports, so find it out with [Detect].
type Variant struct {
	Overhead Overhead `json:"overhead,omitempty"`
	Overload Overload `json:"overload,omitempty"`
	Settings Settings `json:"settings,omitzero"`
}

// Settings are the net.ipv4.vs.* sysctls that change where a connection goes
// (Documentation/networking/ipvs-sysctl.rst). The zero value is the default.
type Settings struct {
	// ExpireQuiescentTemplate: a template whose destination has weight 0 is not used.
	ExpireQuiescentTemplate bool `json:"expireQuiescentTemplate,omitempty"`
	// ExpireNodestConn: an entry whose destination was removed gives way to a new choice.
	ExpireNodestConn bool `json:"expireNodestConn,omitempty"`
	// NoConnReuse is conn_reuse_mode=0: a client port that comes back stays with its old entry.
	NoConnReuse bool `json:"noConnReuse,omitempty"`
	// LBLCRExpiration is lblcr_expiration; zero: 24 h.
	LBLCRExpiration time.Duration `json:"lblcrExpiration,omitempty"`
}
