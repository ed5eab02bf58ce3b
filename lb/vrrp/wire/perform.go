package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/ipvslab/ipvslab/lb/vrrp"
)

// perform does what the state machine says.
func (s *Speaker) perform(g *speaking, actions []vrrp.Action, now time.Time) {
	check := false
	for _, a := range actions {
		var err error
		switch a.Do {
		case vrrp.Send:
			s.send(g, a, now)
		case vrrp.Take:
			err, check = s.take(g), true
		case vrrp.Give:
			_, err = s.give(g)
			check = true
		case vrrp.Announce:
			r := g.routers[a.Router]
			err = s.packets.announce(r.link, r.Addresses, a.Repeat)
		case vrrp.Change:
			g.since = now
			s.report(Report{Time: time.Now(), Group: g.Name, From: a.From, To: a.To, Text: a.Why})
		case vrrp.Notice:
			s.report(Report{Time: time.Now(), Group: g.Name, From: g.fsm.State(), To: g.fsm.State(), Text: a.Why})
		}
		if err != nil {
			s.report(Report{Time: time.Now(), Group: g.Name, From: g.fsm.State(), To: g.fsm.State(), Err: err})
		}
	}
	if check {
		s.checkLater(g)
	}
}

// checkLater reads the addresses back on another thread: requests that wait for
// the new director come first. If they are moved again meanwhile, what it has
// read means nothing.
func (s *Speaker) checkLater(g *speaking) {
	g.moves++
	moves, active := g.moves, g.fsm.State() == vrrp.Active
	s.checks.Go(func() {
		err := s.check(g, active)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil && g.moves == moves {
			s.report(Report{Time: time.Now(), Group: g.Name, From: g.fsm.State(), To: g.fsm.State(), Err: err})
		}
	})
}

// send sends an advertisement. A failure is told once until it works again.
func (s *Speaker) send(g *speaking, a vrrp.Action, now time.Time) {
	r := g.routers[a.Router]
	err := r.sock.send(g.fsm.Advert(a.Router, a.Priority))
	if err == nil {
		r.counts.Sent++
		r.failing = false
		return
	}
	if !r.failing {
		r.failing = true
		s.report(Report{Time: now, Group: g.Name, From: g.fsm.State(), To: g.fsm.State(), Text: "on " + r.Network, Err: err})
	}
}

func (s *Speaker) take(g *speaking) error {
	var errs []error
	for _, r := range g.routers {
		errs = append(errs, s.addrs.put(r.link, r.Addresses))
	}
	return errors.Join(errs...)
}

func (s *Speaker) give(g *speaking) (removed int, err error) {
	var errs []error
	for _, r := range g.routers {
		n, err := s.addrs.remove(r.link, r.Addresses)
		removed += n
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// check reads the addresses back.
func (s *Speaker) check(g *speaking, active bool) error {
	var errs []error
	for _, r := range g.routers {
		errs = append(errs, s.addrs.check(r.link, r.Addresses, active))
	}
	return errors.Join(errs...)
}

// end resigns and gives all addresses up.
func (s *Speaker) end() error {
	s.mu.Lock()
	now := time.Now()
	for _, g := range s.groups {
		s.perform(g, g.fsm.Shutdown(now), now)
	}
	s.mu.Unlock()
	s.checks.Wait()
	var errs []error
	for _, g := range s.groups {
		if err := s.check(g, false); err != nil {
			errs = append(errs, fmt.Errorf("failover group %s: %w", g.Name, err))
		}
	}
	return errors.Join(errs...)
}
