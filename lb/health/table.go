package health

import (
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// Kinds of event.
const (
	Up           EventKind = "up"            // a real server takes connections
	Down         EventKind = "down"          // a real server takes none
	QuorumGained EventKind = "quorum gained" // a service works
	QuorumLost   EventKind = "quorum lost"   // its sorry server takes over, if it has one
)

// EventKind is what an Event is about.
type EventKind string

// Event is a change of what is known.
type Event struct {
	Time    time.Time  `json:"time"`
	Kind    EventKind  `json:"kind"`
	Service string     `json:"service"`
	Server  lb.DestKey `json:"server,omitzero"` // of Up and Down
	Reason  string     `json:"reason,omitempty"`
}

// Services are what the table is to hold, by what is known now, in the given order.
func (m *Monitor) Services() []lb.Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]lb.Service, 0, len(m.services))
	for _, s := range m.services {
		out = append(out, s.table())
	}
	return out
}

// Carriers are the services that carry checks to DR and TUN servers, to be held
// by the table as well.
func (m *Monitor) Carriers() []lb.Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []lb.Service
	for _, s := range m.services {
		for _, v := range s.servers {
			if mark := m.marks[serverID{s.Name, v.dest.DestKey}]; mark != 0 {
				out = append(out, carrier(s, v, mark))
			}
		}
	}
	return out
}

// table is the service as its state has it. A service without quorum that has a
// sorry server is in the sorry server's hands alone.
func (s *service) table() lb.Service {
	t := s.Spec
	t.Destinations = nil
	sorry := s.Sorry != nil && !s.quorum
	for _, v := range s.servers {
		d := v.dest
		switch {
		case v.up() && !sorry:
		case v.inhibited():
			d.Weight = 0
		default:
			continue
		}
		t.Destinations = append(t.Destinations, d)
	}
	if s.Sorry != nil && (sorry || s.Sorry.Inhibit) {
		d := s.Sorry.Destination
		if !sorry {
			d.Weight = 0
		}
		t.Destinations = append(t.Destinations, d)
	}
	return t
}

// assignMarks gives every server that clients reach by DR or TUN a firewall
// mark for its checks, and keeps those that were given.
func (m *Monitor) assignMarks() {
	if m.opts.FirstMark == 0 {
		return
	}
	old := m.marks
	m.marks = map[serverID]uint32{}
	var fresh []serverID
	for _, s := range m.services {
		for _, v := range s.servers {
			id := serverID{s.Name, v.dest.DestKey}
			switch mark := old[id]; {
			case !s.seenAtVIP(v):
			case mark != 0 && !m.used[mark]:
				m.marks[id], m.used[mark] = mark, true
			default:
				fresh = append(fresh, id)
			}
		}
	}
	next := m.opts.FirstMark
	for _, id := range fresh {
		for m.used[next] {
			next++
		}
		m.marks[id], m.used[next] = next, true
	}
}

// FirstMark is the first of the firewall marks that ipvslab's own directors use:
// "LB" in ASCII, and a number of two bytes.
const FirstMark = 'L'<<24 | 'B'<<16

// Carries tells whether a service in a table is one that carries checks, by its
// mark, and not one of clients'.
func Carries(k lb.Key) bool { return k.FWMark&^0xffff == FirstMark }

// seenAtVIP tells whether a server's check is to go to the VIP. A command does
// what it likes. Through a tunnel of the other family there is no telling which
// of the director's addresses the server can answer: it is asked at its own.
func (s *service) seenAtVIP(v *server) bool {
	d := v.dest
	return slices.ContainsFunc(v.checks, func(c *verdict) bool { return c.check.Kind != Command }) && s.Target.Addr.IsValid() &&
		(d.Forward == lb.DR || d.Forward == lb.TUN) && d.Addr.Is4() == s.Target.Addr.Is4()
}

// carrier is the service that takes the checks of one server to it.
func carrier(s *service, v *server, mark uint32) lb.Service {
	d := v.dest
	d.Weight, d.Upper, d.Lower, d.Port = 1, 0, 0, 0
	return lb.Service{Key: lb.MarkKey(mark, lb.FamilyOf(s.Target.Addr)), Scheduler: "rr", Destinations: []lb.Destination{d}}
}

// ServerState is what is known of a real server.
type ServerState struct {
	Service string     `json:"service"`
	Server  lb.DestKey `json:"server"`
	Up      bool       `json:"up"`
	// Failure is why the last check failed; empty: it succeeded, or there was none.
	Failure string `json:"failure,omitempty"`
}

// States are what is known of all real servers that are checked.
func (m *Monitor) States() []ServerState {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []ServerState
	for _, s := range m.services {
		for _, v := range s.servers {
			if len(v.checks) > 0 {
				out = append(out, ServerState{Service: s.Name, Server: v.dest.DestKey, Up: v.up(), Failure: v.reason()})
			}
		}
	}
	return out
}

// same tells whether two checks are the same.
func (c *Check) same(o *Check) bool {
	a, b := *c, *o
	if !slices.Equal(a.Argv, b.Argv) || !slices.Equal(a.Status, b.Status) {
		return false
	}
	return a.Kind == b.Kind && a.Port == b.Port && a.Path == b.Path && a.Body == b.Body && a.Host == b.Host && a.TLS == b.TLS &&
		a.Service == b.Service && a.Send == b.Send && a.Expect == b.Expect
}
