package vrrp

import (
	"fmt"
	"net/netip"
	"time"
)

// Do is what an Action is.
type Do uint8

// What there is to be done.
const (
	Send     Do = iota + 1 // an advertisement with Action.Priority on Action.Router
	Take                   // put the addresses of all routers on their interfaces
	Give                   // take them off
	Announce               // tell Action.Router's network where the addresses are (gratuitous ARP, unsolicited NA)
	Change                 // nothing, but the state went from From to To
	Notice                 // nothing, but something is worth being told
)

// Action is something to be done, in the order given.
type Action struct {
	Do       Do
	Router   int // index in Config.Routers, where it matters
	Priority uint8
	Repeat   int // Announce: how often, against loss
	From, To State
	Why      string
}

// Figures of keepalived's defaults (keepalived.conf(5), vrrp_garp_master_delay,
// _repeat and _refresh_repeat): neighbours that missed the first announcement
// get a second one.
const (
	reannounce    = 5 * time.Second
	Repeat        = 5 // of each announcement that has a reason
	refreshRepeat = 1 // of one that has none
)

// tolerance is the part of an interval by which a timer may be late: a quarter.
const tolerance = 4

// Group is the state machine. Times handed to its methods must not go back. It
// is for one goroutine.
type Group struct {
	cfg      Config
	state    State
	started  bool
	members  []member
	since    time.Time // when the state began
	adver    time.Time // Active: the next advertisement
	announce announcing
	excused  bool      // Backup: it has waited for being late
	owes     bool      // Backup: see Leftovers
	preempt  time.Time // Backup: from when on a lower priority is not respected; zero: not yet decided
	rivals   map[netip.Addr]bool
	actions  []Action
}

// member is a virtual router's own part of the state.
type member struct {
	linkDown bool
	interval time.Duration // Active_Adver_Interval
	down     time.Time     // when Active_Down_Timer fires, or fired
	silent   bool          // it has fired and another one's has not: that has been said
	peer     Peer
}

// Peer is another router that was heard.
type Peer struct {
	Addr     netip.Addr
	Priority uint8
	Heard    time.Time
}

// NewGroup makes a group in state Initialize.
func NewGroup(cfg Config) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("VRRP group: %w", err)
	}
	return &Group{cfg: cfg, members: make([]member, len(cfg.Routers))}, nil
}

// State is the group's, and so that of all its virtual routers.
func (g *Group) State() State { return g.state }

// Peer is who was heard last on a router's network; the zero Peer: nobody yet.
func (g *Group) Peer(router int) Peer { return g.members[router].peer }

// Startup is the event of RFC 9568, section 6.4.1.
func (g *Group) Startup(now time.Time) []Action {
	g.started = true
	return g.begin(now, g.cfg.StartActive, "started")
}

// Leftovers says that addresses have been taken off that an earlier life had
// left. Neighbours may have come here for them, which an Active router of
// greater priority does not know: when it is heard, it is told as by one that
// gives way.
func (g *Group) Leftovers() { g.owes = g.state == Backup }

// begin leaves Initialize if all links are up.
func (g *Group) begin(now time.Time, active bool, why string) []Action {
	if g.state != Initialize || !g.started || g.anyDown() {
		return nil
	}
	if active || g.cfg.Priority == Owner {
		g.become(now, why)
		return g.take()
	}
	g.preempt = time.Time{}
	if g.cfg.PreemptDelay > 0 {
		g.preempt = now.Add(g.cfg.PreemptDelay)
	}
	for i := range g.members {
		g.members[i].interval = g.cfg.Interval
	}
	g.wait(now, why)
	return g.take()
}

// Shutdown is the event of sections 6.4.2 and 6.4.3. The addresses are given up
// before the others are told.
func (g *Group) Shutdown(now time.Time) []Action {
	g.started = false
	return g.leave("stopped")
}

// leave goes to Initialize and resigns where that can be said.
func (g *Group) leave(why string) []Action {
	if g.state == Initialize {
		return nil
	}
	if g.state == Active {
		g.do(Action{Do: Give})
		for i := range g.members {
			if !g.members[i].linkDown {
				g.do(Action{Do: Send, Router: i, Priority: Resign})
			}
		}
	}
	g.change(Initialize, why)
	return g.take()
}

// LinkDown says that a router's interface carries no packets: the whole group
// leaves, for it moves as one (as keepalived's FAULT state).
func (g *Group) LinkDown(now time.Time, router int) []Action {
	g.members[router].linkDown = true
	return g.leave(fmt.Sprintf("%s: link down", g.cfg.Routers[router].Name))
}

// LinkUp says that it carries packets again.
func (g *Group) LinkUp(now time.Time, router int) []Action {
	if !g.members[router].linkDown {
		return nil
	}
	g.members[router].linkDown = false
	return g.begin(now, false, fmt.Sprintf("%s: link up", g.cfg.Routers[router].Name))
}

func (g *Group) anyDown() bool {
	for _, m := range g.members {
		if m.linkDown {
			return true
		}
	}
	return false
}

// Deadline is when Tick has something to do; zero: never, unless something is received.
func (g *Group) Deadline() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	switch g.state {
	case Active:
		sooner(g.adver)
		sooner(g.announce.next())
	case Backup:
		next = g.allDown()
	}
	return next
}

// Tick fires the timers that are due.
func (g *Group) Tick(now time.Time) []Action {
	switch g.state {
	case Active:
		if !now.Before(g.adver) {
			g.advertise(now)
		}
		if n := g.announce.fire(now, g.cfg.Refresh); n > 0 {
			g.announceAll(n)
		}
	case Backup:
		g.expire(now)
	}
	return g.take()
}

// expire takes over when the last member's Active_Down_Timer has fired: while
// one of them hears an Active router, that router lives, and whoever can't hear
// it would only quarrel with it.
//
// A timer that fires late says that this router was not running: it may be the
// one that could not hear, or share a machine with the one that could not
// speak. It waits once for as long as it was late, an interval at most. After
// a resignation there is nothing to be heard for a whole interval but another
// one that took over: only who was late by more waits.
func (g *Group) expire(now time.Time) {
	late := now.Sub(g.allDown())
	if late < 0 {
		return
	}
	tolerated := g.cfg.Interval / tolerance
	if g.resigned() {
		tolerated = g.cfg.Interval
	}
	if late > tolerated && !g.excused {
		g.excused = true
		for i := range g.members {
			g.members[i].down = now.Add(min(late, g.cfg.Interval))
		}
		return
	}
	why := "no advertisement heard"
	switch p := g.members[0].peer; {
	case p.Heard.IsZero():
	case p.Priority == Resign:
		why = fmt.Sprintf("%s has resigned", p.Addr)
	default:
		why = fmt.Sprintf("%s, priority %d: not heard for %v", p.Addr, p.Priority, now.Sub(p.Heard).Round(time.Millisecond))
	}
	g.become(now, why)
}

// resigned tells whether the last that was heard, on any network, is that the
// Active router stops.
func (g *Group) resigned() bool {
	last := g.members[0].peer
	for _, m := range g.members[1:] {
		if m.peer.Heard.After(last.Heard) {
			last = m.peer
		}
	}
	return !last.Heard.IsZero() && last.Priority == Resign
}

// allDown is when the last Active_Down_Timer fires.
func (g *Group) allDown() time.Time {
	last := g.members[0].down
	for _, m := range g.members[1:] {
		if m.down.After(last) {
			last = m.down
		}
	}
	return last
}

// become is the transition to Active: the steps (105) to (150) and (230) to
// (275) of section 6.4.
func (g *Group) become(now time.Time, why string) {
	g.rivals, g.owes = map[netip.Addr]bool{}, false
	g.advertise(now)
	g.do(Action{Do: Take})
	g.announceAll(Repeat)
	g.announce = announcing{said: now, again: now.Add(reannounce)}
	g.since = now
	g.change(Active, why)
}

// wait is the transition to Backup, with all timers started.
func (g *Group) wait(now time.Time, why string) {
	for i := range g.members {
		g.restart(now, i)
	}
	if g.state == Active {
		g.do(Action{Do: Give})
	}
	g.since = now
	g.change(Backup, why)
}

// restart sets a router's Active_Down_Timer.
func (g *Group) restart(now time.Time, router int) {
	g.excused = false
	m := &g.members[router]
	m.down, m.silent = now.Add(g.cfg.ActiveDown(m.interval)), false
	for i := range g.members {
		if other := &g.members[i]; i != router && !other.silent && other.down.Before(now) && !other.down.IsZero() && g.state == Backup {
			other.silent = true
			g.do(Action{Do: Notice, Router: i, Why: g.cfg.Routers[i].Name + ": the active router is not heard here, but on another network of the group"})
		}
	}
}

func (g *Group) advertise(now time.Time) {
	for i := range g.members {
		g.do(Action{Do: Send, Router: i, Priority: g.cfg.Priority})
	}
	g.adver = now.Add(g.cfg.Interval)
}

func (g *Group) announceAll(repeat int) {
	for i := range g.members {
		g.do(Action{Do: Announce, Router: i, Repeat: repeat})
	}
}

func (g *Group) change(to State, why string) {
	g.do(Action{Do: Change, From: g.state, To: to, Why: why})
	g.state = to
}

func (g *Group) do(a Action) { g.actions = append(g.actions, a) }

// take hands over what there is to be done.
func (g *Group) take() []Action {
	a := g.actions
	g.actions = nil
	return a
}
