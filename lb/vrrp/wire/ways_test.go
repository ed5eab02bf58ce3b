package wire

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
)

// way is something that a keepalived.conf(5) may say, and that an election has
// to come out right with. keepalived is director 1 with the greater address.
type way struct {
	name string
	conf []string // in the instance in place of the other text, in turn
	ours func(*Group)
	// theirs is the group as keepalived is told it, before conf.
	theirs func(*Group)
	play   func(*testing.T, *network, *speaker, *contestant)
	long   bool
}

// contestant is keepalived under test.
type contestant struct {
	begin func() // once more
	stop  func() error
	log   *buffer
}

const inInstance = "  virtual_ipaddress {"

func better(g *Group) { g.Priority = 200 }

// handsOver is the play of a keepalived that is the better one: it has the
// addresses, we get them when it stops, and it gets them back.
func handsOver(t *testing.T, n *network, ours *speaker, k *contestant) {
	n.holder(1, 2)
	must(t, k.stop())
	n.holder(0, 2)
	k.begin()
	n.holder(1, 2)
	if said := ours.said(); strings.Contains(said, "VRRP packet") {
		t.Errorf("we complain:\n%s", said)
	}
}

// splitAndHealed is the play of two that did not see each other: in the end
// keepalived has the addresses, which has the greater priority or address.
func splitAndHealed(_ *testing.T, n *network, _ *speaker, _ *contestant) {
	n.awaitAll(2)
	n.isolate(false)
	n.holder(1, 2)
}

func ways() []way {
	return []way{
		{name: "use_vmac", conf: []string{inInstance, "  use_vmac\n" + inInstance, " dev out", ""}, theirs: better, play: handsOver},
		{name: "use_vmac, vmac_xmit_base", conf: []string{inInstance, "  use_vmac\n  vmac_xmit_base\n" + inInstance, " dev out", ""}, theirs: better, play: handsOver, long: true},
		{name: "the owner", theirs: func(g *Group) { g.Priority = 255; g.StartActive = true }, play: handsOver, long: true},
		{name: "garp_master_refresh, garp_lower_prio_repeat 0", conf: []string{inInstance, "  garp_master_refresh 1\n  garp_lower_prio_repeat 0\n" + inInstance}, theirs: better, play: handsOver, long: true},
		{name: "vrrp_strict", conf: []string{"global_defs {", "global_defs {\n  vrrp_strict"}, theirs: better, play: handsOver, long: true},
		{name: "addresses with a prefix, and more that are not advertised", conf: []string{"/32", "/24", inInstance, "  virtual_ipaddress_excluded {\n    10.0.0.200/32\n  }\n" + inInstance}, theirs: better, play: handsOver, long: true},
		{
			name: "unicast with ttl 1", conf: []string{"  unicast_src_ip", "  unicast_ttl 1\n  unicast_src_ip"},
			ours:   func(g *Group) { g.Routers[0].Peers = []netip.Addr{own("out", 1)} },
			theirs: func(g *Group) { better(g); g.Routers[0].Peers = []netip.Addr{own("out", 0)} }, play: handsOver, long: true,
		},
		{name: "a longer interval, which we learn", theirs: func(g *Group) { better(g); g.Interval = time.Second }, play: func(t *testing.T, n *network, ours *speaker, _ *contestant) {
			n.holder(1, 2)
			before := ours.Status()[0].Routers[0].Received
			n.eventually(30*time.Second, func() error {
				if ours.Status()[0].Routers[0].Received < before+3 {
					return errNotYet
				}
				return nil
			})
			if said := ours.said(); strings.Count(said, "active") > 2 { // before it was heard first, and back
				t.Errorf("we did not wait for it:\n%s", said)
			}
		}, long: true},
		{
			name: "track_interface with a weight", conf: []string{inInstance, "  track_interface {\n    in weight -150\n  }\n" + inInstance}, theirs: better,
			play: func(_ *testing.T, n *network, _ *speaker, _ *contestant) {
				n.holder(1, 2)
				n.link(1, "in", false) // 200 - 150 are less than ours
				n.holder(0, 2)
				n.link(1, "in", true)
				n.holder(1, 2)
			},
			long: true,
		},
		{
			name: "dont_track_primary", conf: []string{inInstance, "  dont_track_primary\n" + inInstance}, theirs: better,
			play: func(_ *testing.T, n *network, _ *speaker, _ *contestant) {
				n.holder(1, 2)
				n.link(0, "out", false)
				n.link(0, "out", true)
				n.holder(1, 2)
			},
			long: true,
		},
		{name: "equal priorities", theirs: func(g *Group) { g.Priority = 150 }, play: splitAndHealed, long: true},
		{name: "two owners", ours: func(g *Group) { g.Priority = 255 }, theirs: func(g *Group) { g.Priority = 255; g.StartActive = true }, play: func(_ *testing.T, n *network, _ *speaker, _ *contestant) {
			n.awaitAll(2)
			n.isolate(false)
			n.holder(0, 2) // keepalived steps back to 254 when it hears of us
		}, long: true},
		{
			name: "other addresses", conf: []string{"10.0.0.101/32", "10.0.0.102/32"}, theirs: better,
			play: func(_ *testing.T, n *network, ours *speaker, _ *contestant) { // it is heard all the same, and that is told
				n.eventually(30*time.Second, func() error {
					if len(n.floating(0)) != 0 || len(n.floating(1)) != 1 || !strings.Contains(ours.said(), "its addresses [10.0.0.100 10.0.0.102] are not ours") {
						return errNotYet
					}
					return nil
				})
			},
			long: true,
		},
		{
			name: "version 2 with an authentication header",
			conf: []string{inInstance, "  authentication {\n    auth_type AH\n    auth_pass secret\n  }\n" + inInstance},
			ours: func(g *Group) { g.Version, g.Interval = 2, time.Second }, theirs: func(g *Group) { better(g); g.Version, g.Interval = 2, time.Second },
			play: func(_ *testing.T, n *network, ours *speaker, _ *contestant) { // we don't speak it, and say so
				n.eventually(30*time.Second, func() error {
					if len(n.floating(0)) != 2 || len(n.floating(1)) != 2 || !strings.Contains(ours.said(), "10.0.0.2, id 51, authentication AH") {
						return errNotYet
					}
					return nil
				})
			},
			long: true,
		},
		{
			name: "version 2 with another interval", ours: func(g *Group) { g.Version, g.Interval = 2, time.Second },
			theirs: func(g *Group) { better(g); g.Version, g.Interval, g.StartActive = 2, 2*time.Second, true },
			play: func(_ *testing.T, n *network, ours *speaker, k *contestant) { // neither believes the other
				n.eventually(30*time.Second, func() error {
					if len(n.floating(0)) != 2 || len(n.floating(1)) != 2 || !strings.Contains(ours.said(), "10.0.0.2, interval 2s: its interval is not ours") ||
						!strings.Contains(k.log.String(), "advertisement interval mismatch") {
						return errNotYet
					}
					return nil
				})
			},
			long: true,
		},
	}
}

// TestWaysOfKeepalived has keepalived configured in many ways, with us on the
// other side.
func TestWaysOfKeepalived(t *testing.T) {
	program := probetest.Keepalived(t)
	probetest.Namespaces(t)
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			if w.long && testing.Short() {
				t.Skip("the short form has one way only")
			}
			t.Parallel()
			n := newNetwork(t)
			make := func(i int, change func(*Group)) Group {
				return group(i, func(g *Group) {
					g.Interval, g.Routers = 100*time.Millisecond, g.Routers[:1]
					if change != nil {
						change(g)
					}
				})
			}
			n.isolate(w.name == "equal priorities" || w.name == "two owners")
			k := &contestant{}
			k.begin = func() { k.stop, k.log = n.keepalived(program, 1, make(1, w.theirs), w.conf...) }
			k.begin()
			w.play(t, n, n.speak(0, make(0, w.ours)), k)
		})
	}
}
