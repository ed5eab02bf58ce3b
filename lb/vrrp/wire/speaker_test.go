package wire

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lb/vrrp"
)

const all = 4 // addresses of the group

// TestTakeover goes through a group's life: election, clean stop, return,
// killed link, both families and both networks at once.
func TestTakeover(t *testing.T) {
	n := newNetwork(t)
	first, second := n.speak(0, group(0, nil)), n.speak(1, group(1, nil))
	n.holder(0, all)
	must(t, first.stop())
	n.holder(1, all)
	n.eventually(30*time.Second, func() error { // preempted
		if st := second.Status()[0]; st.State != "active" {
			t.Fatalf("%+v", st)
		}
		return nil
	})
	first = n.speak(0, group(0, nil))
	n.holder(0, all)
	n.link(0, "in", false)
	n.holder(1, all)
	if st := first.Status()[0]; st.State != vrrp.Initialize.String() || !st.Routers[2].LinkDown {
		t.Errorf("with a link down: %+v", st)
	}
	n.link(0, "in", true)
	n.holder(0, all)
	st := second.Status()[0]
	if st.State != "backup" || st.Routers[0].Peer != own("out", 0) || st.Routers[0].PeerPriority != 150 || st.Routers[0].Received == 0 {
		t.Errorf("status of the backup: %+v", st)
	}
	if src := st.Routers[1].Source; !src.IsLinkLocalUnicast() {
		t.Errorf("IPv6 advertisements come from %s", src)
	}
	for i, s := range []*speaker{first, second} {
		must(t, s.stop())
		if left := n.floating(i); len(left) > 0 {
			t.Errorf("director %d stopped and has %v", i, left)
		}
		if said := s.said(); !strings.HasSuffix(strings.TrimSpace(said), "stopped <nil>") || strings.Contains(said, "not there") {
			t.Errorf("director %d reported:\n%s", i, said)
		}
	}
}

func TestUnicast(t *testing.T) {
	n := newNetwork(t)
	unicast := func(i int) func(*Group) {
		return func(g *Group) {
			for k, name := range []string{"out", "six", "in"} {
				g.Routers[k].Peers = []netip.Addr{own(name, 1-i)}
			}
		}
	}
	first, second := n.speak(0, group(0, unicast(0))), n.speak(1, group(1, unicast(1)))
	n.holder(0, all)
	must(t, first.stop())
	n.holder(1, all)
	if st := second.Status()[0]; st.Routers[1].Source != own("six", 1) || st.Routers[1].Peer != own("six", 0) {
		t.Errorf("%+v", st.Routers[1])
	}
	// Somebody who speaks to all is not heard, though he has the better priority.
	before := second.Status()[0].Routers[0].Received
	stranger := n.speak(0, group(0, nil))
	n.eventually(30*time.Second, func() error {
		if st := stranger.Status()[0]; st.Routers[0].Sent < 10 {
			return errNotYet
		}
		return nil
	})
	if st := second.Status()[0]; st.State != "active" || st.Routers[0].Received != before {
		t.Errorf("%+v", st)
	}
}

func TestVersion2(t *testing.T) {
	n := newNetwork(t)
	old := func(g *Group) {
		g.Version, g.Interval = 2, time.Second
		g.Routers = []Router{g.Routers[0], g.Routers[2]}
	}
	first := n.speak(0, group(0, func(g *Group) { old(g); g.StartActive = true }))
	second := n.speak(1, group(1, old))
	n.holder(0, 3)
	n.eventually(30*time.Second, func() error {
		if st := second.Status()[0]; st.Routers[1].PeerPriority != 150 {
			return errNotYet
		}
		return nil
	})
	must(t, first.stop())
	n.holder(1, 3)
}

type notYet struct{}

func (notYet) Error() string { return "not yet" }

var errNotYet = notYet{}

// TestLeftovers: what a killed director has left, the next one takes off.
func TestLeftovers(t *testing.T) {
	n := newNetwork(t)
	conn, err := rtnl.DialIn(n.nodes[0])
	must(t, err)
	defer conn.Close()
	must(t, conn.Apply(t.Context(), rtnl.AddAddress("out", 10, single(vipOut)), rtnl.AddAddress("in", 11, single(vipIn))))
	s := n.speak(0, group(0, func(g *Group) { g.Interval = 2 * time.Second }))
	n.eventually(30*time.Second, func() error {
		if left := n.floating(0); len(left) > 0 {
			return errNotYet
		}
		return nil
	})
	must(t, s.stop())
	if said := s.said(); !strings.Contains(said, "2 addresses taken off that were left from before") {
		t.Errorf("reported:\n%s", said)
	}
	// One that is active at once puts on what is missing.
	must(t, conn.Apply(t.Context(), rtnl.AddAddress("out", 10, single(vipOut))))
	n.speak(0, group(0, func(g *Group) { g.StartActive = true }))
	n.holder(0, all)
}

// TestNeighboursLearn: whoever has talked to one director knows at once where
// the address is when another takes over.
func TestNeighboursLearn(t *testing.T) {
	n := newNetwork(t)
	client := n.client()
	first := n.speak(0, group(0, nil))
	n.speak(1, group(1, nil))
	n.holder(0, all)
	for _, vip := range []netip.Addr{vipOut, vipSix} {
		n.knows(client, vip, 0, true)
	}
	must(t, first.stop())
	n.holder(1, all)
	for _, vip := range []netip.Addr{vipOut, vipSix} {
		n.knows(client, vip, 1, false)
	}
}

func TestNewRefuses(t *testing.T) {
	probetest.Namespaces(t)
	ns, _ := newNamespace(t)
	if _, err := New(ns, []Group{group(0, nil)}, nil); err == nil || !strings.Contains(err.Error(), "no interface out") {
		t.Errorf("without its interfaces: %v", err)
	}
	if _, err := New(ns, []Group{group(0, func(g *Group) { g.Priority = 0 })}, nil); err == nil || !strings.Contains(err.Error(), "priority 0") {
		t.Errorf("with priority 0: %v", err)
	}
	mixed := group(0, func(g *Group) { g.Routers[0].Peers = []netip.Addr{own("six", 1)} })
	if err := mixed.Validate(); err == nil || !strings.Contains(err.Error(), "another family") {
		t.Errorf("with a peer of the other family: %v", err)
	}
}
