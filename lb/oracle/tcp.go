package oracle

import (
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

// TCPState is a connection's state in IPVS's eyes (include/uapi/linux/ip_vs.h,
// IP_VS_TCP_S_*). The zero value is "none".
type TCPState uint8

// The states.
const (
	StateNone TCPState = iota
	Established
	SynSent
	SynRecv
	FinWait
	TimeWait
	Closed
	CloseWait
	LastAck
	Listen
	SynAck
)

var stateNames = [...]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK",
}

// String is the kernel's name of the state, as in /proc/net/ip_vs_conn.
func (s TCPState) String() string { return stateNames[s] }

// active is tcp_state_active_table (ip_vs_proto_tcp.c).
func (s TCPState) active() bool {
	return s == Established || s == SynSent || s == SynRecv || s == SynAck
}

// finished: a first packet of the same client port may be scheduled anew
// (ip_vs_core.c, is_new_conn_expected).
func (s TCPState) finished() bool { return s == TimeWait || s == Closed }

// Segment is what matters of a TCP segment: RST before SYN before FIN before
// ACK (ip_vs_proto_tcp.c, tcp_state_idx). A server's SYN-ACK is its SYN.
type Segment uint8

// The segments.
const (
	SYN Segment = iota
	FIN
	ACK
	RST
)

// Side is an end of a connection.
type Side uint8

// The sides.
const (
	ByClient Side = iota
	ByServer
)

// transitions are tcp_states (ip_vs_proto_tcp.c) for INPUT and OUTPUT, by the
// segment and the state before, for forwarding by NAT, where both directions
// pass the director.
var transitions = func() (all [2][4][len(stateNames)]TCPState) {
	const (
		es, ss, sr, fw, tw = Established, SynSent, SynRecv, FinWait, TimeWait
		cl, cw, la, li     = Closed, CloseWait, LastAck, Listen
	)
	//                              none est syns synr finw timw clos clsw lack list syna
	all[ByClient][SYN] = [11]TCPState{sr, es, es, sr, sr, sr, sr, sr, sr, sr, sr}
	all[ByClient][FIN] = [11]TCPState{cl, cw, ss, tw, tw, tw, cl, cw, la, li, tw}
	all[ByClient][ACK] = [11]TCPState{es, es, ss, es, fw, tw, cl, cw, cl, li, es}
	all[ByClient][RST] = [11]TCPState{cl, cl, cl, sr, cl, cl, cl, cl, la, li, sr}
	all[ByServer][SYN] = [11]TCPState{ss, es, ss, sr, ss, ss, ss, ss, ss, li, sr}
	all[ByServer][FIN] = [11]TCPState{tw, fw, ss, tw, fw, tw, cl, tw, la, li, tw}
	all[ByServer][ACK] = [11]TCPState{es, es, ss, es, fw, tw, cl, cw, la, es, es}
	all[ByServer][RST] = [11]TCPState{cl, cl, ss, cl, cl, tw, cl, cl, cl, cl, cl}
	return all
}()

// Segment says that a later segment of a TCP connection has come by: its state
// may change, and with it whether it counts as active. A client's segment is
// dropped, and changes nothing, while the destination is removed; a server's
// passes all the same (ip_vs_core.c, ip_vs_in_hook, ip_vs_out_hook).
func (m *Model) Segment(c Conn, by Side, s Segment) error {
	c = m.Complete(c)
	if c.Protocol != lb.TCP {
		return fmt.Errorf("send segment of %v: %v has no states here", c.Client, c.Protocol)
	}
	return m.change("send segment of", c, func(e *entry) {
		if by == ByServer || e.dest.available {
			e.move(transitions[by][s][e.state])
		}
	})
}

// move takes a TCP connection to a state.
func (e *entry) move(to TCPState) {
	e.state = to
	e.setActive(to.active())
}

// ConnState is a connection as the model holds it.
type ConnState struct {
	Conn
	Dest  lb.DestKey
	Real  netip.AddrPort // where its packets go
	State TCPState       // TCP only
	Lost  bool           // its destination is removed, so that its client's packets are dropped
}

// Connections are all that have not been closed, templates aside, in no order.
func (m *Model) Connections() []ConnState {
	out := make([]ConnState, 0, len(m.conns))
	for c, e := range m.conns {
		out = append(out, e.shown(c))
	}
	return out
}

// Connection is one of them; false if there is none.
func (m *Model) Connection(c Conn) (ConnState, bool) {
	c = m.Complete(c)
	e, ok := m.conns[c]
	if !ok {
		return ConnState{}, false
	}
	return e.shown(c), true
}

func (e *entry) shown(c Conn) ConnState {
	return ConnState{c, e.dest.key, netip.AddrPortFrom(e.dest.key.Addr, e.port), e.state, !e.dest.available}
}
