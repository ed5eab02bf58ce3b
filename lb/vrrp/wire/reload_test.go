package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb/vrrp"
)

// tell gives a running speaker other groups.
func (s *speaker) tell(groups ...Group) {
	s.t.Helper()
	p, err := s.PrepareReload(groups)
	must(s.t, err)
	must(s.t, p.Apply())
	must(s.t, p.Close())
}

// awaitTurns waits until it has reported that it came into these states, and no others.
func (n *network) awaitTurns(s *speaker, want ...string) {
	n.t.Helper()
	n.eventually(30*time.Second, func() error {
		if turns := s.turns(); !slices.Equal(turns, want) {
			return fmt.Errorf("states are %v, want %v", turns, want)
		}
		return nil
	})
}

// turns are the states that it has come into.
func (s *speaker) turns() (turns []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reports {
		if r.From != r.To {
			turns = append(turns, fmt.Sprintf("%s %s", r.Group, r.To))
		}
	}
	return turns
}

// TestReloadKeepsStates tells two running directors one thing after the other:
// addresses and sockets follow, the client is told where a new address is, and
// nobody's state changes but where a group is gone, new, or without its link.
func TestReloadKeepsStates(t *testing.T) {
	n := newNetwork(t)
	client := n.client()
	one := func(i int, change func(*Group)) Group {
		return group(i, func(g *Group) {
			g.Interval, g.StartActive = time.Second, i == 0 // nobody loses patience on a busy machine
			g.Routers = g.Routers[:1]
			g.Routers[0].Addresses = []netip.Addr{vipOut}
			if change != nil {
				change(g)
			}
		})
	}
	other := func(i int) Group {
		return group(i, func(g *Group) {
			g.Name, g.Interval, g.StartActive, g.Routers = "other", time.Second, i == 0, g.Routers[2:]
		})
	}
	first, second := n.speak(0, one(0, nil)), n.speak(1, one(1, nil))
	both := func(group func(i int) []Group) {
		t.Helper()
		second.tell(group(1)...)
		first.tell(group(0)...)
	}
	n.holder(0, 1)
	n.eventually(30*time.Second, func() error { // both have decided
		if st := second.Status()[0]; st.State != "backup" || st.Routers[0].PeerPriority != 150 {
			return errNotYet
		}
		return nil
	})
	n.awaitTurns(first, "main active") // it is reported after it is done

	both(func(i int) []Group { // priority and interval, and an address more
		return []Group{one(i, func(g *Group) {
			g.Priority, g.Interval = g.Priority-20, 2*time.Second
			g.Routers[0].Addresses = []netip.Addr{vipOut, vipOut2}
		})}
	})
	n.holder(0, 2)
	n.knows(client, vipOut2, 0, true)
	n.eventually(30*time.Second, func() error {
		if st := second.Status()[0]; st.Priority != 80 || st.Routers[0].PeerPriority != 130 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	both(func(i int) []Group { // an address less, another id, and an old version by unicast
		return []Group{one(i, func(g *Group) {
			g.Version, g.Interval, g.Password = 2, time.Second, "secret"
			g.Routers[0].Addresses, g.Routers[0].ID = []netip.Addr{vipOut2}, 77
			g.Routers[0].Peers = []netip.Addr{own("out", 1-i)}
		})}
	})
	if have := n.floating(0); !slices.Equal(have, []netip.Addr{vipOut2}) {
		t.Errorf("with an address less it has %v", have)
	}
	heard := second.Status()[0].Routers[0].Received
	n.eventually(30*time.Second, func() error {
		if st := second.Status()[0].Routers[0]; st.Received < heard+1 {
			return fmt.Errorf("the backup does not hear by unicast: %+v", st)
		}
		return nil
	})
	both(func(i int) []Group { // a network and a family more
		return []Group{group(i, func(g *Group) { g.Interval = 2 * time.Second })}
	})
	n.holder(0, all)
	both(func(i int) []Group { // the network is another group's now; the same group stays
		return []Group{group(i, func(g *Group) { g.Interval, g.Routers = 2*time.Second, g.Routers[:2] }), other(i)}
	})
	n.holder(0, all)
	n.awaitTurns(first, "main active", "other active")
	n.awaitTurns(second, "main backup", "other backup")
	first.tell(other(0)) // the second takes over what is gone here, and nothing else
	n.eventually(30*time.Second, func() error {
		if a, b := n.floating(0), n.floating(1); len(a) != 1 || len(b) != 3 {
			return fmt.Errorf("%v and %v", a, b)
		}
		return nil
	})
	for i, s := range []*speaker{first, second} {
		must(t, s.stop())
		if left := n.floating(i); len(left) > 0 {
			t.Errorf("director %d stopped and has %v", i, left)
		}
		if said := s.said(); strings.Contains(said, "not there") || strings.Contains(said, "still there") {
			t.Errorf("director %d reported:\n%s", i, said)
		}
	}
	p, err := first.PrepareReload(nil)
	if err == nil {
		err = errors.Join(p.Apply(), p.Close())
	}
	if !errors.Is(err, ErrEnded) {
		t.Errorf("told when it has ended: %v", err)
	}
}

// TestReloadRefuses: of what can't be nothing is done.
func TestReloadRefuses(t *testing.T) {
	n := newNetwork(t)
	first := n.speak(0, group(0, func(g *Group) { g.StartActive = true }))
	n.holder(0, all)
	for _, c := range []struct {
		says   string
		change func(*Group)
	}{
		{"no interface eth7", func(g *Group) { g.Routers[1].Interface = "eth7" }},
		{"priority 0", func(g *Group) { g.Priority = vrrp.Resign }},
	} {
		less := group(0, func(g *Group) { g.Routers = g.Routers[:1] })
		wrong := group(0, c.change)
		wrong.Name = "wrong"
		if _, err := first.PrepareReload([]Group{less, wrong}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("want %q: %v", c.says, err)
		}
	}
	if have := n.floating(0); len(have) != all {
		t.Errorf("it has %v", have)
	}
	p, err := first.PrepareReload(nil) // and nothing is done before Apply
	must(t, err)
	must(t, p.Close())
	if st := first.Status(); len(st) != 1 || st[0].State != "active" {
		t.Errorf("%+v", st)
	}
}
