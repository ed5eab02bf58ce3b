package wire

import (
	"net/netip"
	"time"
)

// Status is how a group is.
type Status struct {
	Name     string         `json:"name"`
	State    string         `json:"state"` // "active", "backup" or "initialize"
	Since    time.Time      `json:"since"`
	Priority uint8          `json:"priority"`
	Routers  []RouterStatus `json:"routers"`
}

// RouterStatus is how the group's part on one network is.
type RouterStatus struct {
	Network   string       `json:"network"`
	Interface string       `json:"interface"`
	ID        uint8        `json:"id"`
	LinkDown  bool         `json:"linkDown,omitempty"`
	Source    netip.Addr   `json:"source"`    // of advertisements
	Addresses []netip.Addr `json:"addresses"` // that float; here if the state is active
	// The router that was heard last, if one was.
	Peer         netip.Addr `json:"peer,omitzero"`
	PeerPriority uint8      `json:"peerPriority,omitempty"`
	Heard        time.Time  `json:"heard,omitzero"`
	Counts
}

// Counts are advertisements since the beginning.
type Counts struct {
	Sent      uint64 `json:"sent"`
	Received  uint64 `json:"received"`
	Discarded uint64 `json:"discarded"` // for this router, and malformed or not acceptable
}

// Status tells how the groups are. It may be called from any goroutine while Run runs.
func (s *Speaker) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.groups))
	for _, g := range s.groups {
		st := Status{Name: g.Name, State: g.fsm.State().String(), Since: g.since, Priority: g.Priority}
		for i, r := range g.routers {
			p := g.fsm.Peer(i)
			st.Routers = append(st.Routers, RouterStatus{
				Network: r.Network, Interface: r.Interface, ID: r.ID, LinkDown: !r.link.up, Source: r.Addr, Addresses: r.Addresses,
				Peer: p.Addr, PeerPriority: p.Priority, Heard: p.Heard, Counts: r.counts,
			})
		}
		out = append(out, st)
	}
	return out
}
