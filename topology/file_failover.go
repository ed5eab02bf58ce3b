package topology

import "net/netip"

// FailoverSpec is a failover group: directors that take each other's addresses over, by VRRP.
type FailoverSpec struct {
	// The directors, the preferred first (priorities 150, 100, 50, 40, ...), or a mapping of directors to priorities.
	Directors GroupDirectors `json:"directors"`
	// Floating addresses by network, such as the real servers' gateway. The VIPs of services that all the group's directors carry float with it of themselves.
	Addresses Ordered[List[netip.Addr]] `json:"addresses,omitempty"`
	// Time between two advertisements; 1s unless told otherwise. 10ms to 40.95s in steps of 10ms; with version 2 whole seconds.
	Interval Duration `json:"interval,omitempty"`
	// VRRP's version: 3 (the default), or 2, for IPv4 only.
	Version int `json:"version,omitempty" jsonschema:"minimum=2,maximum=3"`
	// Virtual router id, the same on all of the group's networks; counted up from 51 unless told otherwise.
	ID int `json:"id,omitempty" jsonschema:"minimum=1,maximum=255"`
	// false: a director that comes back does not take over from one that works.
	Preempt *bool `json:"preempt,omitempty"`
	// How long a director that comes back leaves the addresses to one of lower priority; none unless told otherwise.
	PreemptDelay Duration `json:"preemptDelay,omitempty"`
	// Send advertisements to the other directors' addresses, not to VRRP's multicast group.
	Unicast bool `json:"unicast,omitempty"`
	// backup (the default): all wait for each other when they start; active: the preferred one takes the addresses at once.
	Start StartName `json:"start,omitempty"`
	// How often the active director tells its neighbours again where the addresses are, beside the announcements that have a reason (keepalived's garp_master_refresh); 5s unless told otherwise, 0s: never.
	Refresh *Duration `json:"refresh,omitempty"`
	// Authentication of advertisements, with version 2 only; none unless told otherwise.
	Authentication *AuthenticationSpec `json:"authentication,omitempty"`
	// The kernel's connection synchronisation: none (the default), follow, both, true (follow), or a mapping.
	Sync *SyncSpec `json:"sync,omitempty"`
}

// GroupDirectors is a list of nodes, or a mapping of nodes to priorities.
type GroupDirectors Ordered[GroupDirectorSpec]

// GroupDirectorSpec is a director of a failover group: nothing, its priority alone, or a mapping.
type GroupDirectorSpec struct {
	// 1 to 254; the greatest has the addresses. 255 would be their owner, and nobody owns a floating address.
	Priority int `json:"priority,omitempty" jsonschema:"minimum=1,maximum=254"`
}

// AuthenticationSpec is how VRRP version 2 authenticates advertisements.
type AuthenticationSpec struct {
	// pass (the default): a password in clear text (RFC 2338, section 5.3.6; keepalived's auth_type PASS). ah, an IP authentication header, is refused: RFC 3768 has removed it, and no director here speaks it.
	Type AuthenticationName `json:"type,omitempty"`
	// The password (keepalived's auth_pass), the same on all directors; its first 8 bytes count.
	Password string `json:"password"`
}

// SyncSpec is a mode alone, true (follow), or a mapping.
type SyncSpec struct {
	// follow (the default): master daemon where the addresses are, backup daemon elsewhere; both: both daemons on every director; none.
	Mode SyncName `json:"mode,omitempty"`
	// Sync id; the virtual router id unless told otherwise.
	ID int `json:"id,omitempty" jsonschema:"minimum=1,maximum=255"`
	// The network between the directors; the last on which the group floats an address, unless told otherwise.
	Network string `json:"network,omitempty"`
	// Packets before a connection is synchronised first (net.ipv4.vs.sync_threshold, first number; 3 unless told otherwise).
	Threshold *int `json:"threshold,omitempty" jsonschema:"minimum=0,maximum=2147483646"`
	// Then again after so many packets (net.ipv4.vs.sync_threshold, second number; 50 unless told otherwise).
	Period *int `json:"period,omitempty" jsonschema:"minimum=0,maximum=2147483647"`
}

// StartName is the state a failover group's directors start in.
type StartName string

// AuthenticationName is a type of authentication.
type AuthenticationName string

// SyncName is when the kernel's sync daemons run.
type SyncName string

func (StartName) allowed() []string { return []string{"backup", "active"} }
func (SyncName) allowed() []string  { return []string{"none", "follow", "both"} }

func (AuthenticationName) allowed() []string { return []string{"pass", "ah"} }
