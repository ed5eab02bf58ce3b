package wire

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// isolate keeps the directors from seeing each other, or ends that; others see
// both (bridge(8), isolated).
func (n *network) isolate(on bool) {
	n.t.Helper()
	must(n.t, rtnl.Read(n.middle, func(h *netlink.Handle) error {
		for _, port := range []string{"out0", "out1", "in0", "in1"} {
			l, err := h.LinkByName(port)
			if err != nil {
				return err
			}
			if err := h.LinkSetIsolated(l, on); err != nil {
				return err
			}
		}
		return nil
	}))
}

// believes makes a client's neighbour table say that a director has an address,
// as if it had been asked just now.
func (n *network) believes(client *netns.NS, addr netip.Addr, director int) {
	n.t.Helper()
	links, err := findLinks(n.nodes[director], []string{"out"})
	must(n.t, err)
	must(n.t, rtnl.Read(client, func(h *netlink.Handle) error {
		return h.NeighSet(&netlink.Neigh{LinkIndex: 10, State: unix.NUD_REACHABLE, IP: addr.AsSlice(), HardwareAddr: links["out"].mac})
	}))
}

// TestSplitBrainHeals: neighbours that had come to the one that gives way are
// told where the addresses are, whoever it is that gives way and whoever stays.
func TestSplitBrainHeals(t *testing.T) {
	if testing.Short() {
		t.Skip("both have to have announced the addresses twice before, which takes 6 s")
	}
	for _, c := range []struct {
		name        string
		stays, goes bool // keepalived, not us
		refresh     time.Duration
	}{
		{"we both", false, false, 0},
		{"keepalived stays", true, false, 0},
		{"keepalived goes, and does not say so", false, true, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			program := ""
			if c.stays || c.goes {
				program = probetest.Keepalived(t)
			}
			probetest.Namespaces(t)
			t.Parallel()
			n := newNetwork(t)
			client := n.client()
			n.isolate(true)
			for i, theirs := range []bool{c.stays, c.goes} {
				g := group(i, func(g *Group) { g.Refresh, g.Interval = c.refresh, 100*time.Millisecond })
				if theirs {
					n.keepalived(program, i, g)
				} else {
					n.speak(i, g)
				}
			}
			n.awaitAll(all)
			taken := time.Now()
			n.eventually(30*time.Second, func() error { // both have announced the addresses for the second time, 5 s later
				if time.Since(taken) < 6*time.Second {
					return errNotYet
				}
				return nil
			})
			for _, vip := range []netip.Addr{vipOut, vipSix} {
				n.believes(client, vip, 1)
			}
			n.isolate(false)
			n.holder(0, all)
			for _, vip := range []netip.Addr{vipOut, vipSix} {
				n.knows(client, vip, 0, false)
			}
		})
	}
}
