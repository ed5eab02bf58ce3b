package oracle

import (
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

// Conn is a connection as its first packet shows it. It is also its name in
// all later events, so two that live at once must differ.
type Conn struct {
	Protocol lb.Protocol    // zero: the service's; a firewall mark's: TCP
	Client   netip.AddrPort // where it comes from
	Virtual  netip.AddrPort // where the client sent it; zero: the service's address
}

// entry is struct ip_vs_conn: a connection or a persistence template.
type entry struct {
	dest    *dest
	active  bool
	state   TCPState
	port    uint16 // where its packets go, of dest's address
	control *entry // the template it was made by
	used    int    // templates: connections made by it
}

// Pick names the destination that the kernel chooses for a new connection, and
// binds the connection to it. False means that there is none: the kernel
// answers with an ICMP "port unreachable", which a TCP client sees as refused.
//
// A TCP connection is active from its first packet on; UDP never is; SCTP is
// once [Model.Activate] says that it is established. A one-packet service
// (lb.OnePacket) forgets a UDP connection at once.
//
// The key names the destination; to which of its ports the packet goes is in
// [ConnState.Real].
//
// If the connection is there already, its destination is returned and nothing
// is chosen, but TCP is active again. False then means that the destination has
// been removed, and packets are lost. A connection that has finished gives way
// to a new one (conn_reuse_mode=1), but still counts while the choice is made.
func (m *Model) Pick(c Conn) (lb.DestKey, bool) {
	c = m.Complete(c)
	old := m.conns[c]
	if old != nil && !m.givesWay(c, old) {
		if old.dest.available && c.Protocol == lb.TCP {
			old.move(transitions[ByClient][SYN][old.state])
		}
		return old.dest.key, old.dest.available
	}
	d, control := m.choose(c)
	if old != nil {
		defer m.drop(old)
		delete(m.conns, c)
	}
	if d == nil {
		return lb.DestKey{}, false
	}
	m.bind(c, d, control)
	return d.key, true
}

// Observe binds a connection to a destination that was seen to have got it,
// without a choice: for twos, and for following a kernel that differs.
func (m *Model) Observe(c Conn, k lb.DestKey) error {
	c = m.Complete(c)
	d := m.find(k)
	if d == nil {
		return fmt.Errorf("observe connection from %v at %v: destination %w", c.Client, k, ErrNotFound)
	}
	if m.conns[c] != nil {
		return fmt.Errorf("observe connection from %v: %w", c.Client, ErrExists)
	}
	m.bind(c, d, nil)
	return nil
}

func (m *Model) bind(c Conn, d *dest, control *entry) {
	e := &entry{dest: d, control: control, port: m.port(c, d, control != nil)}
	if control != nil {
		control.used++
	}
	d.bind(false, m.table.variant.Overload)
	if c.Protocol == lb.UDP && m.service.Flags&lb.OnePacket != 0 {
		m.drop(e)
		return
	}
	m.conns[c] = e
	if c.Protocol == lb.TCP {
		e.move(SynRecv)
	}
}

// port is where a new connection's packets go: to the destination's port, but
// by a template to the port that the client asked for, unless that is the
// service's (ip_vs_core.c, ip_vs_schedule and ip_vs_sched_persist).
func (m *Model) port(c Conn, d *dest, persistent bool) uint16 {
	if d.key.Port == 0 || persistent && c.Virtual.Port() != m.service.Port {
		return c.Virtual.Port()
	}
	return d.key.Port
}

// givesWay is the part of ip_vs_in before the check of the server's state
// (ip_vs_core.c): may a first packet of the same client port be rescheduled?
func (m *Model) givesWay(c Conn, e *entry) bool {
	s := m.table.variant.Settings
	if s.ExpireNodestConn && (!e.dest.available || e.dest.weight == 0 && c.Protocol != lb.UDP) {
		return true
	}
	return e.state.finished() && e.control == nil && !s.NoConnReuse
}

// Activate says that a connection is in an active state again: ESTABLISHED,
// SYN_SENT, SYN_RECV or SYNACK (ip_vs_proto_tcp.c, tcp_state_active_table).
func (m *Model) Activate(c Conn) error {
	return m.change("activate", c, func(e *entry) {
		if m.Complete(c).Protocol != lb.UDP {
			e.move(Established)
		}
	})
}

// Deactivate says that a connection has left the active states for FIN_WAIT,
// CLOSE_WAIT or LAST_ACK. It still counts as inactive.
func (m *Model) Deactivate(c Conn) error {
	return m.change("deactivate", c, func(e *entry) { e.move(FinWait) })
}

// Finish says that a connection is in TIME_WAIT or CLOSE: it counts as inactive
// for another 120 or 10 s, but its client port may be used anew.
func (m *Model) Finish(c Conn) error {
	return m.change("finish", c, func(e *entry) { e.move(TimeWait) })
}

// Close says that a connection's entry is gone: its timer has run out, or the
// kernel has dropped it.
func (m *Model) Close(c Conn) error {
	return m.change("close", c, func(e *entry) {
		delete(m.conns, m.Complete(c))
		m.drop(e)
	})
}

func (m *Model) change(verb string, c Conn, f func(*entry)) error {
	e := m.conns[m.Complete(c)]
	if e == nil {
		return fmt.Errorf("%s connection from %v: %w", verb, c.Client, ErrNotFound)
	}
	f(e)
	return nil
}

func (m *Model) drop(e *entry) {
	e.setActive(false)
	e.dest.unbind(false, m.table.variant.Overload)
	if e.control != nil {
		e.control.used--
	}
}

func (e *entry) setActive(active bool) {
	if active == e.active {
		return
	}
	e.active = active
	if active {
		e.dest.active++
	} else {
		e.dest.active--
	}
}

// Complete fills in what the service says of a connection that leaves it out:
// the protocol, else TCP, and the virtual address and port.
func (m *Model) Complete(c Conn) Conn {
	if c.Protocol == 0 {
		c.Protocol = m.service.Protocol
	}
	if c.Protocol == 0 {
		c.Protocol = lb.TCP
	}
	if !c.Virtual.IsValid() {
		c.Virtual = netip.AddrPortFrom(m.service.Addr, m.service.Port)
	}
	return c
}

// Outcome is one prediction. OK false: refused.
type Outcome struct {
	Dest lb.DestKey `json:"dest"`
	OK   bool       `json:"ok"`
}

// Held predicts connections that are opened one after the other and stay open.
func (m *Model) Held(conns ...Conn) []Outcome {
	out := make([]Outcome, len(conns))
	for i, c := range conns {
		out[i].Dest, out[i].OK = m.Pick(c)
	}
	return out
}

// OneByOne predicts connections each of which has ended before the next is
// opened. Their entries stay, as inactive, as they do in a kernel for 120 s.
func (m *Model) OneByOne(conns ...Conn) []Outcome {
	out := make([]Outcome, len(conns))
	for i, c := range conns {
		out[i].Dest, out[i].OK = m.Pick(c)
		if e := m.conns[m.Complete(c)]; e != nil {
			e.move(TimeWait)
		}
	}
	return out
}
