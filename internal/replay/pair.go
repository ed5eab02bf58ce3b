// Package replay plays events on an IPVS service in this kernel and on the
// scheduler's model, side by side, and tells the first difference.
//
// A [Pair] takes the events of package lb/oracle/predict one by one: this is
// how the random tester finds differences. [Play] takes a whole script, such as
// the tester prints: this is `ipvslab replay`. Packets are made by hand in a
// scratch director (package internal/director), so that nothing but the script
// decides what happens; real servers are reached by NAT.
//
// What can't be told from a difference, such as a kernel that refuses a socket,
// is an ordinary error; a difference is a *[Difference]. The package must not
// import lab, topology or a launcher.
package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// ErrCantReplay: an event stands for what no packet can bring about in time.
var ErrCantReplay = errors.New("this can be predicted, but not replayed")

// Difference is where kernel and model part.
type Difference struct {
	Event string // the line of the script
	What  string // what the one did and the other
}

func (d *Difference) Error() string { return fmt.Sprintf("at %q: %s", d.Event, d.What) }

// Pair is a service in the kernel and its model. It is not safe for concurrent use.
type Pair struct {
	Model *oracle.Model
	// Script is what has happened so far; both refused whatever is missing in it.
	Script predict.Input
	// Picks are the real servers of the connections opened so far, or "refused" or "lost".
	Picks []string

	ctx      context.Context
	director *director.Director
	table    lb.Table
	service  lb.Service    // as it is now
	patience time.Duration // of the next Compare, beyond the usual
}

// Open sets the service up with its destinations, in a namespace of its own.
// The context bounds all that the Pair will do.
func Open(ctx context.Context, s lb.Service, v oracle.Variant) (p *Pair, err error) {
	s.Destinations = byNAT(s.Destinations)
	p = &Pair{ctx: ctx, Script: predict.Input{Service: s, Variant: v}, service: s}
	if p.Model, err = oracle.New(s, v); err != nil {
		return nil, err
	}
	if p.director, err = director.Open(); err != nil {
		return nil, err
	}
	if p.table, err = ipvs.Open(ctx, p.director.Path()); err != nil {
		return nil, errors.Join(err, p.director.Close())
	}
	if err := p.setUp(s, v.Settings); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %v: %w", s.Key, err), p.Close())
	}
	return p, nil
}

// byNAT are the destinations as the scratch director reaches them.
func byNAT(dests []lb.Destination) []lb.Destination {
	dests = slices.Clone(dests)
	for i := range dests {
		dests[i].Forward, dests[i].Tunnel = lb.NAT, lb.Tunnel{}
	}
	return dests
}

func (p *Pair) setUp(s lb.Service, settings oracle.Settings) error {
	for _, set := range []struct {
		key string
		on  bool
	}{
		{"net.ipv4.vs.expire_quiescent_template", settings.ExpireQuiescentTemplate},
		{"net.ipv4.vs.expire_nodest_conn", settings.ExpireNodestConn},
		{"net.ipv4.vs.conn_reuse_mode", !settings.NoConnReuse},
	} {
		if err := p.director.Set(set.key, map[bool]string{false: "0", true: "1"}[set.on]); err != nil {
			return err
		}
	}
	if s.FWMark != 0 {
		if err := p.director.Mark(s.FWMark); err != nil {
			return err
		}
	} else if err := p.director.Serve(s.Addr); err != nil {
		return err
	}
	if err := p.apply(lb.Change{Op: lb.AddService, Service: s}); err != nil {
		return err
	}
	for _, d := range s.Destinations {
		if err := p.director.Reach(d.Addr); err != nil {
			return err
		}
		if err := p.apply(lb.DestChange(lb.AddDestination, s.Key, d)); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the namespace.
func (p *Pair) Close() error { return errors.Join(p.table.Close(), p.director.Close()) }

// Service is the service as it is now, without destinations.
func (p *Pair) Service() lb.Service {
	s := p.service
	s.Destinations = nil
	return s
}

func (p *Pair) apply(c lb.Change) error { return p.table.Apply(p.ctx, c) }

// Do makes an event happen in both. False: both refused it. Whether all
// counters and states agree afterwards is for Compare to tell.
func (p *Pair) Do(e predict.Event) (done bool, err error) {
	if by, is, ok := e.Verb.Segment(); ok {
		return p.noted(e, p.segment(e, by, is))
	}
	switch e.Verb {
	case predict.Open:
		if _, err := p.Open(e.Conn); err != nil {
			return false, err
		}
		return true, nil
	case predict.Visit:
		out, err := p.Open(e.Conn)
		if err != nil || !out.OK || p.Model.Complete(e.Conn).Protocol != lb.TCP {
			return err == nil, err
		}
		return p.Do(predict.Event{Verb: predict.FIN, Conn: e.Conn})
	case predict.EditService, predict.RemoveService:
		return p.noted(e, p.serviceEvent(e))
	case predict.Add, predict.Edit, predict.Remove:
		return p.destEvent(e)
	case predict.Close:
		return p.noted(e, p.expire(e))
	}
	return false, fmt.Errorf("%s: %w", e, ErrCantReplay)
}

func (p *Pair) noted(e predict.Event, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	p.Script.Events = append(p.Script.Events, e)
	return true, nil
}

func (p *Pair) serviceEvent(e predict.Event) error {
	change := lb.Change{Op: lb.EditService, Service: e.Service}
	switch {
	case e.Verb == predict.RemoveService:
		change = lb.Change{Op: lb.DeleteService, Service: lb.Service{Key: p.service.Key}}
	case p.service.Scheduler == "":
		change.Op = lb.AddService
	}
	if err := p.apply(change); err != nil {
		return err
	}
	p.service.Scheduler = ""
	if e.Verb == predict.EditService {
		p.service = e.Service
	}
	return errors.Join(e.Apply(p.Model), p.awaitFlush())
}

// destEvent checks that both make a change, or both refuse it.
func (p *Pair) destEvent(e predict.Event) (bool, error) {
	op := map[predict.Verb]lb.Op{predict.Add: lb.AddDestination, predict.Edit: lb.EditDestination, predict.Remove: lb.DeleteDestination}[e.Verb]
	if err := p.director.Reach(e.Dest.Addr); err != nil {
		return false, err
	}
	d := byNAT([]lb.Destination{e.Dest})[0]
	kernel, model := p.apply(lb.DestChange(op, p.service.Key, d)), e.Apply(p.Model)
	if (kernel == nil) != (model == nil) {
		return false, &Difference{e.String(), fmt.Sprintf("the kernel says %v, the model says %v", kernel, model)}
	}
	if model != nil {
		return false, nil
	}
	return p.noted(e, p.awaitFlush())
}

// Open sends a connection's first packet and compares the kernel's choice with
// the model's, which is returned.
func (p *Pair) Open(c oracle.Conn) (oracle.Outcome, error) {
	e := predict.Event{Verb: predict.Open, Conn: c}
	if err := p.serve(c); err != nil {
		return oracle.Outcome{}, err
	}
	before := p.Model.Destinations()
	var want oracle.Outcome
	want.Dest, want.OK = p.Model.Pick(c)
	fate, got, err := p.director.Offer(p.packet(c, director.SYN))
	if err != nil {
		return want, err
	}
	picked, expected, goal := "refused", director.Refused, lb.DestKey{}
	switch {
	case !want.OK && want.Dest.Addr.IsValid(): // its entry is there, its destination removed
		picked, expected = "lost", director.Lost
	case want.OK:
		picked, expected, goal = want.Dest.String(), director.Forwarded, want.Dest
		if have, ok := p.Model.Connection(c); ok {
			goal.Port = have.Real.Port()
		} else if p.service.FWMark != 0 && p.service.Timeout > 0 { // a one-packet service's
			goal.Port = c.Virtual.Port()
		}
	}
	p.Script.Events = append(p.Script.Events, e)
	p.Picks = append(p.Picks, picked)
	if fate != expected || got != goal {
		return want, &Difference{e.String(), fmt.Sprintf("the kernel: %s; the model: %s (pick %d of %s)\nmodel, newest first: %s",
			fateWords(fate, got), picked, len(p.Picks), p.service.Scheduler, stateWords(before))}
	}
	return want, nil
}

func fateWords(f director.Fate, to lb.DestKey) string {
	if f == director.Forwarded {
		return to.String()
	}
	return string(f)
}

// serve makes the director take the packets that a connection sends.
func (p *Pair) serve(c oracle.Conn) error {
	if !c.Virtual.IsValid() {
		return nil
	}
	return p.director.Serve(c.Virtual.Addr())
}

// Send sends a connection's first packet and tells what the kernel chose, for
// a scheduler whose picks can't be predicted. The model is told nothing.
func (p *Pair) Send(c oracle.Conn) (lb.DestKey, bool, error) {
	fate, to, err := p.director.Offer(p.packet(c, director.SYN))
	return to, fate == director.Forwarded, err
}

// segment sends a later segment. A client's is lost while the destination is
// removed (ip_vs_core.c, ip_vs_in_hook).
func (p *Pair) segment(e predict.Event, by oracle.Side, is oracle.Segment) error {
	have, err := p.find(e)
	if err != nil {
		return err
	}
	if err := p.Model.Segment(e.Conn, by, is); err != nil {
		return err
	}
	// A segment that only opens or resets carries no acknowledgement here.
	flags := map[oracle.Segment]director.Flags{oracle.ACK: director.ACK, oracle.FIN: director.FIN | director.ACK, oracle.RST: director.RST}[is]
	packet := p.packet(e.Conn, flags)
	if by == oracle.ByServer {
		return p.director.Answer(p.answer(have, flags))
	}
	fate, _, err := p.director.Offer(packet)
	if err != nil {
		return err
	}
	want := director.Forwarded
	if have.Lost {
		want = director.Lost
	}
	if fate != want {
		return &Difference{e.String(), fmt.Sprintf("the packet was %s; by the model it is %s", fate, want)}
	}
	return nil
}

// find is the model's view of an event's connection.
func (p *Pair) find(e predict.Event) (oracle.ConnState, error) {
	c, ok := p.Model.Connection(e.Conn)
	if !ok {
		return c, fmt.Errorf("%s: there is no such connection", e)
	}
	return c, nil
}

// answer is a packet from the real server that has the connection.
func (p *Pair) answer(c oracle.ConnState, f director.Flags) director.Packet {
	return director.Packet{Protocol: c.Protocol, Src: c.Real, Dst: c.Client, Flags: f}
}

func (p *Pair) packet(c oracle.Conn, f director.Flags) director.Packet {
	c = p.Model.Complete(c)
	return director.Packet{Protocol: c.Protocol, Src: c.Client, Dst: c.Virtual, Flags: f}
}
