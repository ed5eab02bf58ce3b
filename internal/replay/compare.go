package replay

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// How long kernel and model may differ: a work queue needs a tick or two, a
// timer of a second may take two, and a closed connection's is 10 s
// (ip_vs_proto_tcp.c, tcp_timeouts).
const (
	settle       = time.Second
	settleTimer  = 4 * time.Second
	settleClosed = 13 * time.Second
)

// pause is between two looks at the kernel's tables.
const pause = 5 * time.Millisecond

// Compare compares all destinations with their counters, and all connections
// with their states. It gives timers time to run out.
func (p *Pair) Compare() error {
	deadline := time.Now().Add(max(settle, p.patience))
	p.patience = 0
	for {
		want, got := p.expected(), []string{}
		dests, err := p.destinations()
		if err != nil {
			return err
		}
		conns, err := p.connections()
		if err != nil {
			return err
		}
		got = append(append(got, dests...), conns...)
		if slices.Equal(want, got) {
			return nil
		}
		if !p.rest(deadline) {
			return &Difference{p.last(), "destinations and connections differ\n" + onlyIn("model", want, got) + onlyIn("kernel", got, want)}
		}
	}
}

// rest waits for the next look at the kernel's tables. It tells whether there is
// to be one.
func (p *Pair) rest(deadline time.Time) bool {
	if time.Now().After(deadline) {
		return false
	}
	select {
	case <-time.After(pause):
		return true
	case <-p.ctx.Done():
		return false
	}
}

// onlyIn lists what one side has and the other has not, or in another place.
func onlyIn(side string, these, others []string) string {
	var b strings.Builder
	for i, s := range these {
		switch at := slices.Index(others, s); {
		case at < 0:
			fmt.Fprintf(&b, "  %s only: %s\n", side, s)
		case at != i && len(these) == len(others):
			fmt.Fprintf(&b, "  %s, as number %d: %s\n", side, i+1, s)
		}
	}
	return b.String()
}

func (p *Pair) last() string {
	if len(p.Script.Events) == 0 {
		return "the start"
	}
	return p.Script.Events[len(p.Script.Events)-1].String()
}

// awaitFlush waits for the connections of a removed destination to go. With
// expire_nodest_conn the kernel flushes them a tick later, and spares those
// whose destination has come back by then.
func (p *Pair) awaitFlush() error {
	if !p.Script.Variant.Settings.ExpireNodestConn {
		return nil
	}
	want, deadline := p.expectedConns(), time.Now().Add(settle)
	for {
		got, err := p.connections()
		if err != nil || slices.Equal(want, got) || !p.rest(deadline) {
			return err // what still differs is for Compare to tell
		}
	}
}

func (p *Pair) expected() []string {
	out := []string{}
	for _, d := range p.Model.Destinations() {
		out = append(out, destLine(d.Dest, d.Weight, d.Active, d.Inactive))
	}
	return append(out, p.expectedConns()...)
}

func (p *Pair) expectedConns() []string {
	var conns []string
	for _, c := range p.Model.Connections() {
		conns = append(conns, connLine(c.Conn, c.Real, c.State.String()))
	}
	slices.Sort(conns)
	return conns
}

func destLine(k lb.DestKey, weight int32, active, inactive int) string {
	return fmt.Sprintf("%v weight %d: %d active, %d inactive", k, weight, active, inactive)
}

// connLine leaves the state out for all but TCP: others have none to speak of.
func connLine(c oracle.Conn, to netip.AddrPort, state string) string {
	s := fmt.Sprintf("%v %v to %v at %v", c.Protocol, c.Client, c.Virtual, to)
	if c.Protocol == lb.TCP {
		s += ": " + state
	}
	return s
}

// destinations are the kernel's, newest first.
func (p *Pair) destinations() ([]string, error) {
	if p.service.Scheduler == "" {
		return nil, nil
	}
	list, err := p.table.Destinations(p.ctx, p.service.Key)
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	var out []string
	for _, d := range list {
		out = append(out, destLine(d.DestKey, d.Weight, int(d.Counters.Active), int(d.Counters.Inactive)))
	}
	return out, nil
}

func (p *Pair) connections() ([]string, error) {
	text, err := p.director.ReadFile("/proc/net/ip_vs_conn")
	if err != nil {
		return nil, err
	}
	all, err := lb.ParseConns(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range all {
		if !c.Template() {
			out = append(out, connLine(oracle.Conn{Protocol: c.Protocol, Client: c.Client, Virtual: c.Virtual}, c.Real, c.State))
		}
	}
	slices.Sort(out)
	return out, nil
}

// expire has a connection's timer run out: it is set to a second by one more
// packet; a closed connection's needs no help. The next Compare waits for it.
func (p *Pair) expire(e predict.Event) error {
	have, err := p.find(e)
	if err != nil {
		return err
	}
	short := have.Protocol == lb.UDP
	switch have.State {
	case oracle.SynRecv, oracle.Established, oracle.FinWait:
		short = true
	case oracle.Closed:
		p.patience = settleClosed
		return p.Model.Close(e.Conn)
	}
	if !short || have.Lost {
		return fmt.Errorf("%s: %w: its timer in state %s runs for minutes", e, ErrCantReplay, have.State)
	}
	if err := p.table.SetTimeouts(p.ctx, lb.Timeouts{TCP: time.Second, TCPFin: time.Second, UDP: time.Second}); err != nil {
		return err
	}
	fate, _, err := p.director.Offer(p.packet(e.Conn, director.ACK))
	if err != nil {
		return err
	}
	if fate != director.Forwarded {
		return &Difference{e.String(), fmt.Sprintf("one more packet was %s, not forwarded", fate)}
	}
	p.patience = max(p.patience, settleTimer)
	// The defaults: tcp_timeouts, udp_timeouts.
	if err := p.table.SetTimeouts(p.ctx, lb.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second}); err != nil {
		return err
	}
	return p.Model.Close(e.Conn)
}

func stateWords(states []oracle.State) string {
	var words []string
	for _, d := range states {
		mark := ""
		if d.Overloaded {
			mark = "!"
		}
		words = append(words, fmt.Sprintf("%v weight %d %d+%d%s", d.Dest, d.Weight, d.Active, d.Inactive, mark))
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, ", ")
}
