// Package predict plays a script of events on a scheduler's model and tells
// what each connection would get: what `ipvslab predict` prints, and the form
// in which the random tester reports a run that differs.
//
// The package is pure: it imports lb, lb/oracle and the standard library, and
// reads and writes only what it is handed.
package predict

import (
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// Verb is what an event does.
type Verb string

// The verbs. Open makes a connection and holds it; Visit makes one that has
// ended before the next event; the others follow the methods of oracle.Model.
const (
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

// Event is one line of a script.
type Event struct {
	Verb  Verb
	Dest  lb.Destination // Add, Edit, Remove
	Conn  oracle.Conn    // the others; of Open and Visit the zero Conn is a client of its own
	Times int            // Open and Visit without a Conn; zero: once
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
	p := player{model: m, out: &out, family: in.Service.Family}
	for i, e := range in.Events {
		if err := p.play(e); err != nil {
			return out, fmt.Errorf("event %d, %q: %w", i+1, e, err)
		}
	}
	return out, nil
}

type player struct {
	model  *oracle.Model
	out    *Result
	family lb.Family
	made   int // clients made up
}

func (p *player) play(e Event) error {
	switch e.Verb {
	case Open, Visit:
		for range max(e.Times, 1) {
			if err := p.connect(e); err != nil {
				return err
			}
		}
		return nil
	case Add:
		return p.note(e, p.model.Add(e.Dest))
	case Edit:
		return p.note(e, p.model.Edit(e.Dest))
	case Remove:
		return p.note(e, p.model.Remove(e.Dest.DestKey))
	case Activate:
		return p.note(e, p.model.Activate(e.Conn))
	case Deactivate:
		return p.note(e, p.model.Deactivate(e.Conn))
	case Finish:
		return p.note(e, p.model.Finish(e.Conn))
	case Close:
		return p.note(e, p.model.Close(e.Conn))
	case Expire:
		return p.note(e, p.model.ExpireTemplate(e.Conn))
	}
	return fmt.Errorf("unknown verb %q", e.Verb)
}

func (p *player) note(e Event, err error) error {
	if err == nil {
		p.out.Steps = append(p.out.Steps, Step{Event: e.String(), Destinations: p.states()})
	}
	return err
}

func (p *player) connect(e Event) error {
	if !e.Conn.Client.IsValid() {
		e.Conn.Client = p.newClient()
	}
	e.Times = 0
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
	return nil
}

// newClient has the documentation's addresses (RFC 5737, RFC 3849), each with
// 200 clients, so that ports and addresses both vary.
func (p *player) newClient() netip.AddrPort {
	p.made++
	addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + (p.made-1)%200)})
	if p.family == lb.IPv6 {
		addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(1 + (p.made-1)%200)})
	}
	return netip.AddrPortFrom(addr, uint16(40000+p.made%20000))
}

func (p *player) states() []State {
	list := p.model.Destinations()
	out := make([]State, len(list))
	for i, d := range list {
		out[i] = State{d.Dest.String(), d.Weight, d.Active, d.Inactive, d.Overloaded}
	}
	return out
}
