package vrrp

import (
	"fmt"
	"slices"
	"time"
)

// Kept tells what a router of another configuration goes on from.
type Kept struct {
	From     int  // its index in the present configuration; -1: it is new
	LinkDown bool // a new one's interface carries no packets
}

// Reconfigure has the group go on by another configuration, without leaving its
// state where VRRP allows that, as keepalived's reload does. Kept is parallel
// to cfg.Routers. Addresses that are in no router any more are for the caller to
// take off before.
//
// An Active router says at once what it now is: whoever waits for it may have
// to wait longer. A router that has gone away does not resign, which would be
// heard as the whole group's resignation.
func (g *Group) Reconfigure(now time.Time, cfg Config, kept []Kept) ([]Action, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("VRRP group: %w", err)
	}
	old, members := g.cfg, g.members
	g.cfg, g.members = cfg, make([]member, len(cfg.Routers))
	down := ""
	for i, k := range kept {
		if k.From >= 0 {
			g.members[i] = members[k.From]
			continue
		}
		g.members[i] = member{linkDown: k.LinkDown, interval: cfg.Interval, down: now.Add(cfg.ActiveDown(cfg.Interval))}
		if k.LinkDown {
			down = cfg.Routers[i].Name + ": link down"
		}
	}
	if old.PreemptDelay != cfg.PreemptDelay {
		g.preempt = time.Time{} // counted anew
	}
	if old.Refresh != cfg.Refresh {
		g.announce.refresh = time.Time{}
	}
	if down != "" {
		return g.leave(down), nil
	}
	switch g.state {
	case Initialize: // the link that was down may belong to it no more
		return g.begin(now, false, "it has another configuration"), nil
	case Backup:
		g.waitOtherwise(now, &old)
	case Active:
		g.advertise(now)
		g.takeMore(now, &old, kept)
	}
	return g.take(), nil
}

// waitOtherwise sets a Backup router's timers by another configuration. What
// makes advertisements be thrown away until the others have it, too, gives all
// of them the whole time again.
func (g *Group) waitOtherwise(now time.Time, old *Config) {
	if g.cfg.Priority == Owner && old.Priority != Owner {
		g.become(now, "it is the owner of the addresses now")
		return
	}
	afresh := old.Version != g.cfg.Version || old.Password != g.cfg.Password
	for i := range g.members {
		m := &g.members[i]
		interval := m.interval
		if g.cfg.Version == 2 || m.peer.Heard.IsZero() { // else it is the Active router's
			interval = g.cfg.Interval
		}
		if afresh || interval != m.interval {
			m.interval = interval
			m.down, m.silent = now.Add(g.cfg.ActiveDown(interval)), false
		} else {
			m.down = m.down.Add(g.cfg.Skew(interval) - old.Skew(interval))
		}
	}
}

// takeMore takes an Active router's new addresses, and announces those of the
// routers that have any.
func (g *Group) takeMore(now time.Time, old *Config, kept []Kept) {
	taken := false
	for i, r := range g.cfg.Routers {
		from := kept[i].From
		more := from < 0
		for _, a := range r.Addresses {
			more = more || !slices.Contains(old.Routers[from].Addresses, a)
		}
		if !more {
			continue
		}
		if !taken {
			taken = true
			g.do(Action{Do: Take})
			g.announce.said, g.announce.again = now, now.Add(reannounce)
		}
		g.do(Action{Do: Announce, Router: i, Repeat: Repeat})
	}
}
