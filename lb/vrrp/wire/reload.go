package wire

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lb/vrrp"
	"golang.org/x/sys/unix"
)

// ErrEnded is a Speaker that runs no more.
var ErrEnded = errors.New("VRRP has ended")

// Reload is other groups that a Speaker is ready to be told: what they need is
// open, and nothing has changed yet. Apply it, and Close it in any case.
type Reload struct {
	s      *Speaker
	links  map[string]*link // of interfaces that no group had
	groups []*speaking      // in order; those that stay as they are are the Speaker's own
	opened []*socket        // that nobody uses yet
}

// PrepareReload makes ready for other groups, found by their names, in place of
// those there are. It is for one goroutine at a time.
func (s *Speaker) PrepareReload(groups []Group) (_ *Reload, err error) {
	s.mu.Lock()
	old, links := slices.Clone(s.groups), maps.Clone(s.links)
	s.mu.Unlock()
	p := &Reload{s: s}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("prepare other failover groups: %w", err), p.Close())
		}
	}()
	var names []string
	for i := range groups {
		if err := groups[i].Validate(); err != nil {
			return nil, err
		}
		for _, r := range groups[i].Routers {
			if links[r.Interface] == nil {
				names = append(names, r.Interface)
			}
		}
	}
	if p.links, err = findLinks(s.ns, names); err != nil {
		return nil, err
	}
	maps.Copy(links, p.links)
	for _, g := range groups {
		before := named(old, g.Name)
		if before == nil || !reflect.DeepEqual(before.told, g) {
			if before, err = p.open(g, before, links); err != nil {
				return nil, fmt.Errorf("failover group %s: %w", g.Name, err)
			}
		}
		p.groups = append(p.groups, before)
	}
	return p, nil
}

func named(groups []*speaking, name string) *speaking {
	i := slices.IndexFunc(groups, func(g *speaking) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	return groups[i]
}

// open makes a group that is new, or goes on from another, with the sockets
// that it does not have yet.
func (p *Reload) open(g Group, before *speaking, links map[string]*link) (*speaking, error) {
	sp := newSpeaking(g, links)
	if before != nil {
		sp.follow(before)
	}
	for i, r := range sp.routers {
		if err := r.resolve(p.s.ns); err != nil {
			return nil, err
		}
		if sp.before != nil && sp.from[i] >= 0 {
			r.inherit(sp.before.routers[sp.from[i]])
		}
		opened, err := r.open(p.s.ns, g.Version)
		p.opened = append(p.opened, opened...)
		if err != nil {
			return nil, err
		}
	}
	fsm, err := vrrp.NewGroup(sp.config()) // judges it; one that goes on has its own already
	sp.fsm = fsm
	return sp, err
}

// follow finds for each router the one that it goes on from, by interface and
// family, the one with its id first. A group without any is a new one.
func (g *speaking) follow(before *speaking) {
	g.from = slices.Repeat([]int{-1}, len(g.Routers))
	for _, anyID := range []bool{false, true} {
		for i, r := range g.Routers {
			if g.from[i] >= 0 {
				continue
			}
			for k, o := range before.Routers {
				if o.Interface == r.Interface && o.Addr.Is4() == r.Addr.Is4() && (o.ID == r.ID || anyID) && !slices.Contains(g.from, k) {
					g.from[i], g.before = k, before
					break
				}
			}
		}
	}
}

// inherit takes over what goes on from the router that it was.
func (r *routing) inherit(old *routing) {
	r.counts = old.counts
	if old.Addr == r.Addr && slices.Equal(old.Peers, r.Peers) {
		r.sock, r.header = old.sock, old.header
	}
}

// Close lets go of what is not in use.
func (p *Reload) Close() error {
	var errs []error
	for _, sock := range p.opened {
		errs = append(errs, sock.close())
	}
	p.opened = nil
	return errors.Join(errs...)
}

// Apply puts the groups in force, between two of Run's steps: groups that stay
// the same are not touched, those that are gone resign, those that are new
// start, and those that differ go on as they are ([vrrp.Group.Reconfigure]). The
// error is what did not work of it, or ErrEnded: nothing was done.
func (p *Reload) Apply() error {
	result := make(chan error, 1)
	select {
	case p.s.requests <- func() { result <- p.apply(time.Now()) }:
	case <-p.s.ended:
		return ErrEnded
	}
	p.s.rouse()
	select {
	case err := <-result:
		return err
	case <-p.s.ended:
		return ErrEnded
	}
}

// rouse has Run look at its context and its requests.
func (s *Speaker) rouse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake >= 0 {
		_, _ = unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd takes it
	}
}

// answer does what was requested. It tells whether there was something.
func (s *Speaker) answer() bool {
	_, _ = unix.Read(s.wake, make([]byte, 8)) // so that it can be roused again
	select {
	case do := <-s.requests:
		s.mu.Lock()
		defer s.mu.Unlock()
		do()
		return true
	default:
		return false
	}
}

// apply is for the Speaker's thread. What goes goes first: an address may have
// moved from one group to another.
func (p *Reload) apply(now time.Time) error {
	s, old := p.s, p.s.groups
	if err := s.addLinks(p.links); err != nil {
		return err
	}
	var errs []error
	for _, g := range old {
		switch next := named(p.groups, g.Name); {
		case next == g:
		case next != nil && next.before == g:
			errs = append(errs, s.giveUp(g, next))
		default:
			s.perform(g, g.fsm.Shutdown(now), now)
			errs = append(errs, s.check(g, false))
			g.moves++ // that was the reading back
		}
	}
	s.groups = p.groups
	for _, g := range s.groups {
		switch {
		case slices.Contains(old, g):
		case g.before != nil:
			errs = append(errs, s.goOn(g, now))
		default:
			s.start(g, now)
		}
	}
	p.opened = unused(old, s.groups)
	return errors.Join(errs...)
}

// addLinks takes in interfaces; from now on the monitor's news of them count.
func (s *Speaker) addLinks(links map[string]*link) error {
	now, err := findLinks(s.ns, slices.Collect(maps.Keys(links)))
	if err != nil {
		return err
	}
	for name, l := range links {
		l.up = now[name].up
		s.links[name] = l
	}
	return nil
}

// giveUp takes off the addresses that a group will have no more.
func (s *Speaker) giveUp(g, next *speaking) error {
	g.moves++ // a reading back that is under way means nothing any more
	if g.fsm.State() != vrrp.Active {
		return nil
	}
	var errs []error
	for _, r := range g.routers {
		var less []netip.Addr
		for _, a := range r.Addresses {
			if !slices.ContainsFunc(next.routers, func(n *routing) bool { return n.link == r.link && slices.Contains(n.Addresses, a) }) {
				less = append(less, a)
			}
		}
		if len(less) > 0 {
			_, err := s.addrs.remove(r.link, less)
			errs = append(errs, err, s.addrs.check(r.link, less, false))
		}
	}
	return errors.Join(errs...)
}

// goOn has a group's state machine go on with what the group is now.
func (s *Speaker) goOn(g *speaking, now time.Time) error {
	g.fsm, g.since = g.before.fsm, g.before.since
	kept := make([]vrrp.Kept, len(g.routers))
	for i, r := range g.routers {
		kept[i] = vrrp.Kept{From: g.from[i], LinkDown: !r.link.up}
	}
	g.before, g.from = nil, nil
	actions, err := g.fsm.Reconfigure(now, g.config(), kept)
	if err != nil {
		return fmt.Errorf("failover group %s: %w", g.Name, err)
	}
	s.perform(g, actions, now)
	return nil
}

// unused are the sockets of the old groups that the new ones don't have.
func unused(old, now []*speaking) (out []*socket) {
	used := map[*socket]bool{}
	for _, g := range now {
		for _, sock := range g.sockets() {
			used[sock] = true
		}
	}
	for _, g := range old {
		for _, sock := range g.sockets() {
			if !used[sock] {
				out = append(out, sock)
			}
		}
	}
	return out
}
