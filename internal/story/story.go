// Package story plays the tutorial on the terminal: each step shows the
// commands a reader would type, what the kernel answers, and why, and fails
// unless what is seen is what it must be.
//
// The commands are carried out by this program's own packages: nothing needs
// to be installed. The package must not import the guest: it runs where the
// kernel has IPVS.
package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// Options say how to play.
type Options struct {
	Plan  *topology.Plan // of examples/article.yaml
	Step  int            // the first step to show; those before are carried out in silence
	Out   io.Writer
	Color bool
}

// step is one chapter. What must not be seen is an error.
type step struct {
	title string
	play  func(ctx context.Context, t *teller) error
}

// steps in the tutorial's order; step 1 is the first.
var steps = []step{
	{"The machines, and a director that forwards", machines},
	{"The real servers, visited directly", direct},
	{"The director's table", table},
	{"The request hangs", hang},
	{"The rules file that was not there", rulesFile},
	{"Why it hangs: the answers take another way", cause},
	{"The mend: answers go back through the director", mend},
}

// Steps is the number of steps.
func Steps() int { return len(steps) }

// Play brings the tutorial's lab up, tells the story, and leaves the lab up.
// It returns an error at the first step that does not show what it must.
func Play(ctx context.Context, o Options) error {
	if o.Step == 0 {
		o.Step = 1
	}
	if o.Step < 1 || o.Step > len(steps) {
		return fmt.Errorf("play from step %d: the story has steps 1 to %d", o.Step, len(steps))
	}
	c, err := castOf(o.Plan)
	if err != nil {
		return err
	}
	t := &teller{cast: c, out: o.Out, color: o.Color}
	if spoil != nil {
		spoil(t)
	}
	if err := t.begin(ctx, o.Plan); err != nil {
		return err
	}
	for i, s := range steps {
		t.silent = i+1 < o.Step
		t.title(i+1, s.title)
		if err := s.play(ctx, t); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("step %d (%s) was cut short; the lab stays up, `ipvslab down %s` ends it: %w", i+1, s.title, o.Plan.Name, ctx.Err())
			}
			return fmt.Errorf("step %d (%s) did not show what it must: %w", i+1, strings.ToLower(s.title[:1])+s.title[1:], err)
		}
	}
	t.end()
	return nil
}

// begin brings the lab up as the tutorial's author had it; one that is up
// already is taken down first.
func (t *teller) begin(ctx context.Context, plan *topology.Plan) error {
	found, err := lab.Down(ctx, plan.Name)
	if err != nil {
		return err
	}
	if found {
		t.say("The lab was up already; it begins anew.")
	}
	began := time.Now()
	if t.lab, err = lab.Up(ctx, asPublished(plan, t.cast), lab.Options{Agent: lab.Detached, NoServices: true}); err != nil {
		return err
	}
	t.say(fmt.Sprintf("The lab %q is up after %d ms: five machines, two networks, one kernel.",
		plan.Name, time.Since(began).Milliseconds()))
	return nil
}

// spoil lets a test change the story's idea of the lab.
var spoil func(*teller)

// cast is who is who in the tutorial, taken from the plan.
type cast struct {
	client, master, backup string
	clientIP               netip.Addr
	vip                    netip.AddrPort
	inside, backupInside   netip.Addr // the directors' addresses on the real servers' network
	backupOutside          netip.Addr
	masterIface            string // the master's interface on that network
	reals                  []real
}

type real struct {
	name string
	addr netip.AddrPort
}

// castOf finds the tutorial's roles in a plan: a client, two directors, and a
// NAT service with two real servers.
func castOf(p *topology.Plan) (cast, error) {
	var c cast
	wrong := func(what string) (cast, error) {
		return c, fmt.Errorf("play the tutorial with lab %s: it needs %s, as in examples/article.yaml", p.Name, what)
	}
	var directors []topology.Node
	for _, n := range p.Nodes {
		switch n.Role {
		case topology.Client:
			c.client, c.clientIP = n.Name, firstAddr(n.Interfaces)
		case topology.Director:
			directors = append(directors, n)
		}
	}
	if c.client == "" || len(directors) != 2 || len(p.Services) != 1 || len(p.Services[0].RealServers) != 2 {
		return wrong("a client, two directors and one service with two real servers")
	}
	s := p.Services[0]
	c.vip = netip.AddrPortFrom(s.Spec.Addr, s.Spec.Port)
	for i, name := range s.RealServers {
		d := s.Spec.Destinations[i]
		c.reals = append(c.reals, real{name, netip.AddrPortFrom(d.Addr, d.Port)})
	}
	if !slices.Contains(s.Directors, directors[0].Name) {
		slices.Reverse(directors)
	}
	c.master, c.backup = directors[0].Name, directors[1].Name
	c.backupOutside = firstAddr(directors[1].Interfaces)
	var ok1, ok2 bool
	c.inside, c.masterIface, ok1 = towards(directors[0], c.reals[0].addr.Addr())
	c.backupInside, _, ok2 = towards(directors[1], c.reals[0].addr.Addr())
	if !ok1 || !ok2 {
		return wrong("both directors on the real servers' network")
	}
	return c, nil
}

func firstAddr(ifaces []topology.Interface) netip.Addr {
	for _, i := range ifaces {
		for _, a := range i.Addresses {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

// towards is a node's address and interface on the network that holds to.
func towards(n topology.Node, to netip.Addr) (netip.Addr, string, bool) {
	for _, i := range n.Interfaces {
		for _, a := range i.Addresses {
			if a.Prefix.Contains(to) {
				return a.Prefix.Addr(), i.Name, true
			}
		}
	}
	return netip.Addr{}, "", false
}

// asPublished is the plan with the tutorial's omission: it never says what the
// real servers' gateway is. Here it is the other director, which forwards, so
// that direct visits work, as the author saw.
func asPublished(p *topology.Plan, c cast) *topology.Plan {
	q := *p
	q.Nodes = slices.Clone(p.Nodes)
	for i := range q.Nodes {
		routes := slices.Clone(q.Nodes[i].Routes)
		for j := range routes {
			if routes[j].Via == c.inside {
				routes[j].Via = c.backupInside
				routes[j].Origin = "the story: the tutorial does not say what the gateway is"
			}
		}
		q.Nodes[i].Routes = routes
	}
	return &q
}

// notSeen is the error of a step that did not show what it must.
func notSeen(format string, args ...any) error {
	return errors.New("expected " + fmt.Sprintf(format, args...))
}
