// Package predict plays a script of events on a scheduler's model and tells
// what each connection would get: what `ipvslab predict` prints, and the form
// in which the random tester reports a run that differs.
//
// The package is pure: it imports lb, lb/oracle and the standard library, and
// reads and writes only what it is handed.
package predict

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// Verb is what an event does.
type Verb string

// The verbs. Open makes a connection and holds it: a first packet, so that TCP
// is half open; Visit makes one that has ended before the next event. ACK, FIN
// and RST are later segments of the client's, the others the server's. The rest
// follow the methods of oracle.Model.
const (
	EditService   Verb = "service" // a second service line
	RemoveService Verb = "remove-service"
	ACK           Verb = "ack"
	FIN           Verb = "fin"
	RST           Verb = "rst"
	ServerACK     Verb = "server-ack"
	ServerFIN     Verb = "server-fin"
	ServerRST     Verb = "server-rst"

	Add        Verb = "add"
	Edit       Verb = "edit"
	Remove     Verb = "remove"
	Open       Verb = "open"
	Visit      Verb = "visit"
	Activate   Verb = "activate"
	Deactivate Verb = "deactivate"
	Finish     Verb = "finish"
	Close      Verb = "close"
	Expire     Verb = "expire" // a persistence template
)

// segments are the verbs that send a segment.
var segments = map[Verb]struct {
	by oracle.Side
	is oracle.Segment
}{
	ACK: {oracle.ByClient, oracle.ACK}, FIN: {oracle.ByClient, oracle.FIN}, RST: {oracle.ByClient, oracle.RST},
	ServerACK: {oracle.ByServer, oracle.ACK}, ServerFIN: {oracle.ByServer, oracle.FIN}, ServerRST: {oracle.ByServer, oracle.RST},
}

// Segment is what a verb sends, and who; false for verbs that send none, or a
// connection's first packet.
func (v Verb) Segment() (by oracle.Side, is oracle.Segment, ok bool) {
	s, ok := segments[v]
	return s.by, s.is, ok
}

// Event is one line of a script.
type Event struct {
	Verb    Verb
	Service lb.Service     // EditService; without destinations
	Dest    lb.Destination // Add, Edit, Remove
	Conn    oracle.Conn    // the others; of Open and Visit the zero Conn is a client of its own
	Times   int            // Open and Visit without a Conn; zero: once
}

// Apply does to a model what the event says, but for Open and Visit, which
// choose. A service line after a removal adds the service again.
func (e Event) Apply(m *oracle.Model) error {
	if by, is, ok := e.Verb.Segment(); ok {
		return m.Segment(e.Conn, by, is)
	}
	switch e.Verb {
	case EditService:
		if err := m.AddService(e.Service); !errors.Is(err, oracle.ErrExists) {
			return err
		}
		return m.EditService(e.Service)
	case RemoveService:
		m.RemoveService()
		return nil
	case Add:
		return m.Add(e.Dest)
	case Edit:
		return m.Edit(e.Dest)
	case Remove:
		return m.Remove(e.Dest.DestKey)
	case Activate:
		return m.Activate(e.Conn)
	case Deactivate:
		return m.Deactivate(e.Conn)
	case Finish:
		return m.Finish(e.Conn)
	case Close:
		return m.Close(e.Conn)
	case Expire:
		return m.ExpireTemplate(e.Conn)
	}
	return fmt.Errorf("unknown verb %q", e.Verb)
}

// Input is a script: a service, a kernel, and what happens.
type Input struct {
	Service lb.Service // its destinations are added first
	Variant oracle.Variant
	Events  []Event
}

// Step is what one event, or one connection of it, led to.
type Step struct {
	Event  string `json:"event"`
	Client string `json:"client,omitempty"`
	Picked string `json:"picked,omitempty"` // the destination, or "refused"
	// Chances are given instead of Picked for a scheduler that draws lots; the
	// model then goes on with an example.
	Chances      []Chance `json:"chances,omitempty"`
	Destinations []State  `json:"destinations"` // afterwards, in the kernel's order
}

// Chance is a destination's probability of being picked.
type Chance struct {
	Dest        string  `json:"dest"`
	Probability float64 `json:"probability"`
}

// State is a destination after a step.
type State struct {
	Dest       string `json:"dest"`
	Weight     int32  `json:"weight"`
	Active     int    `json:"active"`
	Inactive   int    `json:"inactive"`
	Overloaded bool   `json:"overloaded,omitempty"`
}

// Result is the outcome of a script.
type Result struct {
	Service   string         `json:"service"`
	Scheduler string         `json:"scheduler"`
	Variant   oracle.Variant `json:"variant"`
	Steps     []Step         `json:"steps"`
	// Picks are the connections by destination, "refused" included; none if lots are drawn.
	Picks map[string]int `json:"picks"`
}

// refused stands for "no destination" in Step.Picked and Result.Picks.
const refused = "refused"

// Run plays a script. The error names the event, counted from 1, that the
// kernel would refuse; the result holds what came before it.
func Run(in Input) (Result, error) {
	out := Result{Service: in.Service.Key.String(), Scheduler: in.Service.Scheduler, Variant: in.Variant, Picks: map[string]int{}}
	m, err := oracle.New(in.Service, in.Variant)
	if err != nil {
		return out, err
	}
	p := player{model: m, out: &out, clients: Clients{Family: in.Service.Family}}
	for i, e := range in.Events {
		if err := p.play(e); err != nil {
			return out, fmt.Errorf("event %d, %q: %w", i+1, e, err)
		}
	}
	return out, nil
}

type player struct {
	model   *oracle.Model
	out     *Result
	clients Clients
}

func (p *player) play(e Event) error {
	if e.Verb != Open && e.Verb != Visit {
		return p.note(e, e.Apply(p.model))
	}
	for _, one := range p.clients.Each(e) {
		p.connect(one)
	}
	return nil
}

func (p *player) note(e Event, err error) error {
	if err == nil {
		p.out.Steps = append(p.out.Steps, Step{Event: e.String(), Destinations: p.states()})
	}
	return err
}

func (p *player) connect(e Event) {
	step := Step{Event: e.String(), Client: e.Conn.Client.String()}
	for _, s := range p.model.Distribution() {
		step.Chances = append(step.Chances, Chance{s.Dest.String(), s.Probability})
	}
	dest, ok := p.model.Pick(e.Conn)
	step.Picked = refused
	if ok {
		step.Picked = dest.String()
	}
	if step.Chances != nil {
		step.Picked = ""
	} else {
		p.out.Picks[step.Picked]++
	}
	// A one-packet service has forgotten the connection already.
	if e.Verb == Visit && ok {
		_ = p.model.Finish(e.Conn)
	}
	step.Destinations = p.states()
	p.out.Steps = append(p.out.Steps, step)
}

// Clients makes up clients for events that name none, the same for each script:
// the documentation's addresses (RFC 5737, RFC 3849), each with 200 clients, so
// that ports and addresses both vary.
type Clients struct {
	Family lb.Family
	made   int
}

func (c *Clients) next() netip.AddrPort {
	c.made++
	addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + (c.made-1)%200)})
	if c.Family == lb.IPv6 {
		addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(1 + (c.made-1)%200)})
	}
	return netip.AddrPortFrom(addr, uint16(40000+c.made%20000))
}

// Each is an event as single events, each with its client: a repeated Open or
// Visit is several.
func (c *Clients) Each(e Event) []Event {
	if e.Verb != Open && e.Verb != Visit {
		return []Event{e}
	}
	all := make([]Event, max(e.Times, 1))
	for i := range all {
		all[i] = e
		all[i].Times = 0
		if !e.Conn.Client.IsValid() {
			all[i].Conn.Client = c.next()
		}
	}
	return all
}

func (p *player) states() []State {
	list := p.model.Destinations()
	out := make([]State, len(list))
	for i, d := range list {
		out[i] = State{d.Dest.String(), d.Weight, d.Active, d.Inactive, d.Overloaded}
	}
	return out
}
