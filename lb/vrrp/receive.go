package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// ErrInterval is an advertisement of version 2 with an interval other than the
// configured one, which RFC 3768, section 7.1, has thrown away.
var ErrInterval = errors.New("its interval is not ours, and version 2 does not adapt")

// ErrOtherVersion is an advertisement of the version that is not spoken here.
var ErrOtherVersion = errors.New("it is of the other version")

// Receive is the event of an advertisement for a router (an index in
// Config.Routers) with its VRID, that [Parse] has passed. The error says why
// it was not acted on, when it should not have come at all.
func (g *Group) Receive(now time.Time, router int, src netip.Addr, a Advert) ([]Action, error) {
	switch {
	case a.Version != g.cfg.Version:
		return nil, fmt.Errorf("VRRP packet from %s, version %d: %w", src, a.Version, ErrOtherVersion)
	case a.Version == 2 && !a.authentic(g.cfg.Password):
		return nil, fmt.Errorf("VRRP packet from %s, %s: %w", src, a.AuthType, authFault(a, g.cfg.Password))
	case a.Version == 2 && a.Interval != g.cfg.Interval:
		return nil, fmt.Errorf("VRRP packet from %s, interval %v: %w", src, a.Interval, ErrInterval)
	case src == g.cfg.Routers[router].Primary:
		return nil, nil // our own, come back
	}
	if g.state == Initialize {
		return nil, nil
	}
	g.members[router].peer = Peer{Addr: src, Priority: a.Priority, Heard: now}
	if g.state == Active {
		g.receiveActive(now, router, src, a)
	} else {
		g.receiveBackup(now, router, a)
	}
	return g.take(), nil
}

// receiveBackup is section 6.4.2 on ADVERTISEMENTs, with keepalived's delay of
// preemption. An Active router that resigns on one network of the group resigns
// on all: it may have no way left to say so there.
func (g *Group) receiveBackup(now time.Time, router int, a Advert) {
	m := &g.members[router]
	switch {
	case a.Priority == Resign:
		for i := range g.members {
			other := &g.members[i]
			if soon := now.Add(g.cfg.Skew(other.interval)); i == router || soon.Before(other.down) {
				other.down, other.silent = soon, false
			}
		}
	case a.Priority >= g.cfg.Priority:
		g.preempt = time.Time{}
		g.learn(m, a)
		g.restart(now, router)
		if g.owes && a.Priority > g.cfg.Priority {
			g.owes = false
			g.do(Action{Do: Send, Router: router, Priority: g.cfg.Priority})
		}
	case g.cfg.NoPreempt || g.patient(now):
		g.learn(m, a)
		g.restart(now, router)
	}
	// Else it is discarded: the timer runs on.
}

// patient tells whether a lower priority is still left alone.
func (g *Group) patient(now time.Time) bool {
	if g.cfg.PreemptDelay > 0 && g.preempt.IsZero() {
		g.preempt = now.Add(g.cfg.PreemptDelay)
	}
	return now.Before(g.preempt)
}

// learn takes over the Active router's interval (version 3).
func (g *Group) learn(m *member, a Advert) {
	if a.Version == 3 && a.Interval > 0 {
		m.interval = a.Interval
	}
}

// receiveActive is section 6.4.3 on ADVERTISEMENTs.
//
// Whoever gives way says once more that it was there, when it has given the
// addresses up: the other one may never have heard it, as at the end of a split
// brain, and has no reason then to tell its neighbours where the addresses are
// (keepalived.conf(5), vrrp_higher_prio_send_advert).
func (g *Group) receiveActive(now time.Time, router int, src netip.Addr, a Advert) {
	primary := g.cfg.Routers[router].Primary
	switch {
	case a.Priority == Resign:
		g.advertise(now)
		g.reassure(now)
	case a.Priority > g.cfg.Priority, a.Priority == g.cfg.Priority && src.Compare(primary) > 0:
		g.preempt = time.Time{}
		for i := range g.members {
			g.members[i].interval = g.cfg.Interval
			g.learn(&g.members[i], a)
		}
		g.wait(now, fmt.Sprintf("%s has priority %d", src, a.Priority))
		g.do(Action{Do: Send, Router: router, Priority: g.cfg.Priority})
	default:
		g.assert(now, router, src, a)
	}
}

// assert tells a router of lower priority that there is an Active one, and the
// network that its announcements were wrong. One that has just been preempted
// is no rival: it has heard of it when it is heard no more.
func (g *Group) assert(now time.Time, router int, src netip.Addr, a Advert) {
	g.do(Action{Do: Send, Router: router, Priority: g.cfg.Priority})
	g.reassure(now)
	if !g.rivals[src] && now.Sub(g.since) > g.cfg.Interval {
		g.rivals[src] = true
		g.do(Action{Do: Notice, Router: router, Why: fmt.Sprintf("%s: %s, priority %d, is active, too", g.cfg.Routers[router].Name, src, a.Priority)})
	}
}

// reassure tells the networks where the addresses are, now or soon, and once more.
func (g *Group) reassure(now time.Time) {
	if n := g.announce.provoke(now); n > 0 {
		g.announceAll(n)
	}
}

// Advert is what the group has to say on a router's network.
func (g *Group) Advert(router int, priority uint8) Advert {
	r := g.cfg.Routers[router]
	a := Advert{
		Version: g.cfg.Version, VRID: r.VRID, Priority: priority, Interval: g.cfg.Interval,
		Addresses: slices.Clone(r.Addresses), Password: g.cfg.Password,
	}
	if g.cfg.Password != (Password{}) {
		a.AuthType = AuthPass
	}
	return a
}
