package topology

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// Group is a failover group: directors of which one at a time, elected by VRRP
// (RFC 9568), has all of the group's floating addresses.
type Group struct {
	Name         string        `json:"name"`
	Members      []GroupMember `json:"members"` // by falling priority
	Version      int           `json:"version"` // of VRRP: 2 or 3
	Interval     time.Duration `json:"interval"`
	Preempt      bool          `json:"preempt"`
	PreemptDelay time.Duration `json:"preemptDelay,omitempty"`
	Unicast      bool          `json:"unicast,omitempty"`
	// StartActive: the first member takes the addresses when it starts, without waiting.
	StartActive bool `json:"startActive,omitempty"`
	// Refresh is how often the active director announces the addresses for no
	// reason; 0: never.
	Refresh time.Duration `json:"refresh,omitempty"`
	// Password authenticates advertisements of version 2; empty: nothing does.
	Password string `json:"password,omitempty"`
	// Routers are the virtual routers that move together, in the networks' order.
	Routers []VirtualRouter `json:"routers"`
	// Services are those whose VIPs float with the group.
	Services []string `json:"services,omitempty"`
	Sync     *Sync    `json:"sync,omitempty"`
}

// GroupMember is a director of a group.
type GroupMember struct {
	Node     string `json:"node"`
	Priority uint8  `json:"priority"`
}

// VirtualRouter is a group's part on one network, for one family.
type VirtualRouter struct {
	ID        uint8             `json:"id"`
	Network   string            `json:"network"`
	Family    lb.Family         `json:"family"`
	Addresses []FloatingAddress `json:"addresses"`
	Ends      []RouterEnd       `json:"ends"` // parallel to the group's Members
}

// FloatingAddress is an address that the active director of a group has, as a /32 or /128.
type FloatingAddress struct {
	Addr   netip.Addr `json:"addr"`
	VIP    bool       `json:"vip,omitempty"`
	Origin Origin     `json:"origin,omitempty"`
}

// RouterEnd is where a member takes part in a virtual router.
type RouterEnd struct {
	Interface string `json:"interface"`
	// Addr is the member's own address. IPv6 advertisements to the multicast
	// group come from the interface's link-local address instead.
	Addr netip.Addr `json:"addr"`
}

// SyncMode says when the kernel's sync daemons run.
type SyncMode string

// The modes.
const (
	SyncFollow SyncMode = "follow" // master where the addresses are, backup elsewhere
	SyncBoth   SyncMode = "both"   // both daemons on every director
)

// Sync is a group's connection synchronisation.
type Sync struct {
	Mode    SyncMode `json:"mode"`
	ID      uint8    `json:"id"`
	Network string   `json:"network"`
	// Interfaces are the members' on that network, parallel to Members.
	Interfaces []string `json:"interfaces"`
}

// Floats tells whether an address floats, and may so be on an interface of a node or not.
func (p *Plan) Floats(node, itf string, a netip.Addr) bool {
	for _, g := range p.Failover {
		for _, r := range g.Routers {
			for i, m := range g.Members {
				if m.Node == node && r.Ends[i].Interface == itf && slices.ContainsFunc(r.Addresses, func(f FloatingAddress) bool { return f.Addr == a }) {
					return true
				}
			}
		}
	}
	return false
}
