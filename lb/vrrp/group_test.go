package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	epoch = time.Date(2024, 4, 30, 0, 0, 0, 0, time.UTC)
	self  = netip.MustParseAddr("10.0.0.5")
	low   = netip.MustParseAddr("10.0.0.4")
	high  = netip.MustParseAddr("10.0.0.6")
	vip   = netip.MustParseAddr("10.0.0.100")
)

// word writes an action as the tables below have it.
func word(a Action) string {
	switch a.Do {
	case Send:
		return fmt.Sprintf("send%d:%d", a.Router, a.Priority)
	case Take:
		return "take"
	case Give:
		return "give"
	case Announce:
		if a.Repeat != Repeat {
			return fmt.Sprintf("announce%dx%d", a.Router, a.Repeat)
		}
		return fmt.Sprintf("announce%d", a.Router)
	case Change:
		return a.From.String() + ">" + a.To.String()
	case Notice:
		return fmt.Sprintf("notice%d", a.Router)
	}
	return "?"
}

func words(actions []Action) string {
	var out []string
	for _, a := range actions {
		out = append(out, word(a))
	}
	return strings.Join(out, " ")
}

// config is that of a router on so many networks, priority 100, one second.
func config(routers int, change func(*Config)) Config {
	c := Config{Version: 3, Priority: 100, Interval: time.Second}
	for i := range routers {
		c.Routers = append(c.Routers, Router{Name: fmt.Sprintf("net%d", i), VRID: 51, Primary: self, Addresses: []netip.Addr{vip}})
	}
	if change != nil {
		change(&c)
	}
	return c
}

// step is an event at a time after the beginning, what it leads to, and when
// the next timer fires (-1: none).
type step struct {
	at   time.Duration
	on   func(*Group, time.Time) []Action
	want string
	next time.Duration
}

func startup(g *Group, now time.Time) []Action  { return g.Startup(now) }
func shutdown(g *Group, now time.Time) []Action { return g.Shutdown(now) }
func leftovers(g *Group, _ time.Time) []Action {
	g.Leftovers()
	return nil
}

func tick(g *Group, now time.Time) []Action { return g.Tick(now) }

func linkDown(router int) func(*Group, time.Time) []Action {
	return func(g *Group, now time.Time) []Action { return g.LinkDown(now, router) }
}

func linkUp(router int) func(*Group, time.Time) []Action {
	return func(g *Group, now time.Time) []Action { return g.LinkUp(now, router) }
}

func hearOn(router int, src netip.Addr, priority uint8, interval time.Duration) func(*Group, time.Time) []Action {
	return func(g *Group, now time.Time) []Action {
		a := Advert{Version: g.cfg.Version, VRID: 51, Priority: priority, Interval: interval, Addresses: []netip.Addr{vip}}
		actions, err := g.Receive(now, router, src, a)
		if err != nil {
			return []Action{{Do: Change, Why: err.Error()}}
		}
		return actions
	}
}

func hear(src netip.Addr, priority uint8) func(*Group, time.Time) []Action {
	return hearOn(0, src, priority, time.Second)
}

const (
	ms     = time.Millisecond
	skew   = 609375 * time.Microsecond // (256-100)/256 s
	down   = 3*time.Second + skew
	active = "send0:100 take announce0 backup>active"
	never  = -1
)

// TestRFC9568 goes through the tables of RFC 9568, section 6.4, line by line.
func TestRFC9568(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		nets   int
		steps  []step
	}{
		{"6.4.1: the owner starts", func(c *Config) { c.Priority = Owner }, 1, []step{
			{0, startup, "send0:255 take announce0 initialize>active", time.Second},
		}},
		{"6.4.1: another starts", nil, 1, []step{
			{0, startup, "initialize>backup", down},
		}},
		{"6.4.1: nothing is done before the start", nil, 1, []step{
			{0, hear(low, 50), "", never},
			{0, hear(high, 0), "", never},
			{0, tick, "", never},
			{0, shutdown, "", never},
		}},
		{"6.4.2: Shutdown", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, shutdown, "backup>initialize", never},
			{time.Hour, tick, "", never},
		}},
		{"6.4.2: Active_Down_Timer", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down - 1, tick, "", down},
			{down, tick, active, down + time.Second},
			{down + time.Second, tick, "send0:100", down + 2*time.Second},
		}},
		{"6.4.2: priority 0 sets the timer to Skew_Time", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(high, 0), "", time.Second + skew},
			{time.Second + skew, tick, active, 2*time.Second + skew},
		}},
		{"6.4.2: greater priority", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(low, 101), "", time.Second + down},
		}},
		{"6.4.2: equal priority, whatever the address", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(low, 100), "", time.Second + down},
			{2 * time.Second, hear(high, 100), "", 2*time.Second + down},
		}},
		{"6.4.2: lesser priority is discarded", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(high, 99), "", down},
			{down, tick, active, down + time.Second},
		}},
		{"6.4.2: lesser priority without Preempt_Mode", func(c *Config) { c.NoPreempt = true }, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(low, 1), "", time.Second + down},
		}},
		{"6.4.2: Active_Adver_Interval is learnt", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hearOn(0, high, 200, 100*ms), "", time.Second + down/10},
			{time.Second, hearOn(0, high, 0, 10*time.Second), "", time.Second + skew/10},
		}},
		{"6.4.3: Shutdown", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{down + time.Second, shutdown, "give send0:0 active>initialize", never},
		}},
		{"6.4.3: priority 0", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{down + 300*ms, hear(high, 0), "send0:100", down + time.Second}, // somebody had the addresses, too: when it may be said again
			{down + time.Second, tick, "announce0", down + 1300*ms},
		}},
		{"6.4.3: greater priority", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{4 * time.Second, hearOn(0, low, 101, 100*ms), "give active>backup send0:100", 4*time.Second + down/10},
		}},
		{"6.4.3: equal priority, greater address", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{4 * time.Second, hear(high, 100), "give active>backup send0:100", 4*time.Second + down},
		}},
		{"6.4.3: equal priority, lesser address", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{4 * time.Second, hear(low, 100), "send0:100", down + time.Second},
			{5 * time.Second, hear(low, 100), "send0:100 announce0 notice0", down + time.Second},
			{5 * time.Second, hear(low, 100), "send0:100", down + time.Second},
		}},
		{"6.4.3: lesser priority is told off", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{4 * time.Second, hear(high, 99), "send0:100", down + time.Second},
		}},
		{"6.4.3: the owner gives way to nobody of a lesser address", func(c *Config) { c.Priority = Owner }, 1, []step{
			{0, startup, "send0:255 take announce0 initialize>active", time.Second},
			{500 * ms, hear(high, 254), "send0:255", time.Second},
			{500 * ms, hear(high, 255), "give active>backup send0:255", 500*ms + 3*time.Second + time.Second/256},
		}},
		{"a neighbour that missed the announcement gets another", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{down + 5*time.Second, tick, "send0:100 announce0", down + 6*time.Second},
			{down + 10*time.Second, tick, "send0:100", down + 11*time.Second},
		}},
		{"a rival's announcement is corrected", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{down + 5*time.Second, tick, "send0:100 announce0", down + 6*time.Second},
			{down + 6500*ms, hear(high, 50), "send0:100 announce0 notice0", down + 6*time.Second},
			{down + 6600*ms, hear(high, 50), "send0:100", down + 6*time.Second},
			{down + 6700*ms, tick, "send0:100", down + 7500*ms},
			{down + 7500*ms, tick, "announce0", down + 7700*ms}, // a second after the one before
			{down + 12*time.Second, tick, "send0:100 announce0", down + 13*time.Second},
		}},
		{"one that was preempted is no rival, unless it goes on", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{down + 5*ms, hear(low, 50), "send0:100", down + time.Second},
			{down + time.Second, tick, "send0:100 announce0", down + 2*time.Second},
			{down + 1005*ms, hear(low, 50), "send0:100 notice0", down + 2*time.Second},
		}},
		{"a split brain heals: the better one has heard nothing until the other gives way", func(c *Config) { c.Priority = 200 }, 1, []step{
			{0, startup, "initialize>backup", 3*time.Second + 218750*time.Microsecond},
			{time.Hour, tick, "", time.Hour + time.Second},
			{2 * time.Hour, tick, "send0:200 take announce0 backup>active", 2*time.Hour + time.Second},
			{3 * time.Hour, tick, "send0:200 announce0", 3*time.Hour + time.Second},
			{3*time.Hour + time.Second, hear(low, 100), "send0:200 announce0 notice0", 3*time.Hour + time.Second},
		}},
		{"addresses were left from an earlier life: the active router is told, once", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{0, leftovers, "", down},
			{1 * time.Second, hear(low, 50), "", down},
			{1 * time.Second, hear(high, 100), "", time.Second + down},
			{2 * time.Second, hear(low, 101), "send0:100", 2*time.Second + down},
			{3 * time.Second, hear(low, 101), "", 3*time.Second + down},
		}},
		{"announced again for no reason", func(c *Config) { c.Refresh = 3 * time.Second }, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{down + 5*time.Second, tick, "send0:100 announce0", down + 6*time.Second},
			{down + 7500*ms, tick, "send0:100", down + 8*time.Second},
			{down + 8*time.Second, tick, "announce0x1", down + 8500*ms},
			{down + 8500*ms, tick, "send0:100", down + 9500*ms},
			{down + 8600*ms, hear(low, 50), "send0:100 notice0", down + 9*time.Second},
			{down + 9*time.Second, tick, "announce0", down + 9500*ms},
			{down + 11*time.Second, tick, "send0:100 announce0x1", down + 12*time.Second},
			{down + 13600*ms, tick, "send0:100 announce0", down + 14600*ms},
			{down + 16600*ms, tick, "send0:100 announce0x1", down + 17600*ms},
		}},
		{"start as active", func(c *Config) { c.StartActive = true }, 1, []step{
			{0, startup, "send0:100 take announce0 initialize>active", time.Second},
		}},
		{"preemption is delayed from the start", func(c *Config) { c.PreemptDelay = 10 * time.Second }, 1, []step{
			{0, startup, "initialize>backup", down},
			{9 * time.Second, hear(low, 50), "", 9*time.Second + down},
			{10 * time.Second, hear(low, 50), "", 9*time.Second + down},
			{9*time.Second + down, tick, active, 10*time.Second + down},
		}},
		{"preemption is delayed after a better one has gone", func(c *Config) { c.PreemptDelay = 10 * time.Second }, 1, []step{
			{0, startup, "initialize>backup", down},
			{20 * time.Second, hear(high, 200), "", 20*time.Second + down},
			{21 * time.Second, hear(low, 50), "", 21*time.Second + down},
			{30 * time.Second, hear(low, 50), "", 30*time.Second + down},
			{31 * time.Second, hear(low, 50), "", 30*time.Second + down},
		}},
		{"version 2 does not adapt, and its skew is of a second", func(c *Config) { c.Version, c.Interval = 2, 2*time.Second }, 1, []step{
			{0, startup, "initialize>backup", 6*time.Second + skew},
			{time.Second, hearOn(0, high, 200, time.Second), "initialize>initialize", 6*time.Second + skew},
			{time.Second, hearOn(0, high, 200, 2*time.Second), "", 7*time.Second + skew},
			{2 * time.Second, hearOn(0, high, 0, 2*time.Second), "", 2*time.Second + skew},
		}},
		{"our own packet is nobody's", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(self, 200), "", down},
		}},
		{"whoever was late waits once, for as long", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down + 300*ms, tick, "", down + 600*ms},
			{down + time.Minute, tick, active, down + time.Minute + time.Second},
		}},
		{"whoever was away waits for an interval, and hears", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Hour, tick, "", time.Hour + time.Second},
			{time.Hour + 500*ms, hear(high, 200), "", time.Hour + 500*ms + down},
			{2 * time.Hour, tick, "", 2*time.Hour + time.Second},
			{2*time.Hour + time.Second, tick, active, 2*time.Hour + 2*time.Second},
		}},
		{"whoever was late after a resignation doesn't wait", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(high, 0), "", time.Second + skew},
			{time.Second + skew + 900*ms, tick, active, 2*time.Second + skew + 900*ms},
		}},
		{"but for more than an interval", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hear(high, 0), "", time.Second + skew},
			{time.Minute, tick, "", time.Minute + time.Second},
			{time.Minute + 500*ms, hear(high, 200), "", time.Minute + 500*ms + down},
			{2 * time.Hour, tick, "", 2*time.Hour + time.Second},
		}},
		{"a link that is down, and up again", nil, 1, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, active, down + time.Second},
			{4 * time.Second, linkDown(0), "give active>initialize", never},
			{5 * time.Second, hear(high, 200), "", never},
			{6 * time.Second, linkUp(0), "initialize>backup", 6*time.Second + down},
			{7 * time.Second, linkUp(0), "", 6*time.Second + down},
		}},
		{"a group takes over when nobody is heard on any network", nil, 2, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hearOn(1, high, 150, time.Second), "", time.Second + down},
			{down, tick, "", time.Second + down},
			{4 * time.Second, hearOn(1, high, 150, time.Second), "notice0", 4*time.Second + down},
			{5 * time.Second, hearOn(1, high, 150, time.Second), "", 5*time.Second + down},
			{5*time.Second + down, tick, "send0:100 send1:100 take announce0 announce1 backup>active", 6*time.Second + down},
		}},
		{"a group gives way when one is heard on one network", nil, 2, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, "send0:100 send1:100 take announce0 announce1 backup>active", time.Second + down},
			{4 * time.Second, hearOn(1, low, 150, time.Second), "give active>backup send1:100", 4*time.Second + down},
		}},
		{"a group resigns as a whole", nil, 2, []step{
			{0, startup, "initialize>backup", down},
			{time.Second, hearOn(0, high, 150, time.Second), "", time.Second + down},
			{time.Second, hearOn(1, high, 150, time.Second), "", time.Second + down},
			{2 * time.Second, hearOn(1, high, 0, time.Second), "", 2*time.Second + skew},
		}},
		{"one link down resigns on the others", nil, 2, []step{
			{0, startup, "initialize>backup", down},
			{down, tick, "send0:100 send1:100 take announce0 announce1 backup>active", time.Second + down},
			{4 * time.Second, linkDown(1), "give send0:0 active>initialize", never},
			{5 * time.Second, linkDown(0), "", never},
			{6 * time.Second, linkUp(1), "", never},
			{7 * time.Second, linkUp(0), "initialize>backup", 7*time.Second + down},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, config(c.nets, c.change), c.steps)
		})
	}
}

// play goes through a group's life step by step.
func play(t *testing.T, cfg Config, steps []step) {
	t.Helper()
	g, err := NewGroup(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range steps {
		if got := words(s.on(g, epoch.Add(s.at))); got != s.want {
			t.Errorf("step %d at %v: %q, want %q", i+1, s.at, got, s.want)
		}
		next := time.Duration(never)
		if d := g.Deadline(); !d.IsZero() {
			next = d.Sub(epoch)
		}
		if next != s.next {
			t.Errorf("step %d at %v: next timer at %v, want %v", i+1, s.at, next, s.next)
		}
	}
}

// TestTimers has the figures of the issue, and of RFC 9568, section 6.1.
func TestTimers(t *testing.T) {
	for _, c := range []struct {
		version, priority uint8
		interval          time.Duration
		skew, down        time.Duration
	}{
		{3, 100, time.Second, 609375 * time.Microsecond, 3609375 * time.Microsecond},
		{3, 100, 100 * ms, 60937500, 360937500},
		{3, 100, 10 * ms, 6093750, 36093750},
		{3, 255, time.Second, time.Second / 256, 3*time.Second + time.Second/256},
		{2, 100, 3 * time.Second, 609375 * time.Microsecond, 9609375 * time.Microsecond},
	} {
		cfg := Config{Version: c.version, Priority: c.priority, Interval: c.interval}
		if s, d := cfg.Skew(c.interval), cfg.ActiveDown(c.interval); s != c.skew || d != c.down {
			t.Errorf("version %d, priority %d, %v: skew %v, active down %v; want %v, %v", c.version, c.priority, c.interval, s, d, c.skew, c.down)
		}
	}
}

func TestReceiveRefuses(t *testing.T) {
	g, err := NewGroup(config(1, nil))
	if err != nil {
		t.Fatal(err)
	}
	g.Startup(epoch)
	if _, err := g.Receive(epoch, 0, high, Advert{Version: 2, Priority: 200, Interval: time.Second}); !errors.Is(err, ErrOtherVersion) {
		t.Errorf("version 2 where 3 is spoken: %v", err)
	}
	if p := g.Peer(0); p != (Peer{}) {
		t.Errorf("it counts as heard: %+v", p)
	}
	if _, err := g.Receive(epoch, 0, high, Advert{Version: 3, Priority: 200, Interval: time.Second}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(Peer{Addr: high, Priority: 200, Heard: epoch}, g.Peer(0), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// TestAuthentication: an advertisement counts if it has what is configured, as
// with keepalived.
func TestAuthentication(t *testing.T) {
	const ours = "secret"
	for _, c := range []struct {
		name     string
		password string // configured here
		a        Advert
		want     error
	}{
		{"none, none asked for", "", Advert{}, nil},
		{"the same", ours, Advert{AuthType: AuthPass, Password: PasswordOf(ours)}, nil},
		{"the same in the first 8 bytes", "eightbyt", Advert{AuthType: AuthPass, Password: PasswordOf("eightbytes")}, nil},
		{"another", ours, Advert{AuthType: AuthPass, Password: PasswordOf("Secret")}, ErrPassword},
		{"a longer one", ours, Advert{AuthType: AuthPass, Password: PasswordOf("secrets")}, ErrPassword},
		{"none, one asked for", ours, Advert{}, ErrAuth},
		{"one, none asked for", "", Advert{AuthType: AuthPass, Password: PasswordOf(ours)}, ErrAuth},
		{"AH, none asked for", "", Advert{AuthType: AuthAH}, ErrAuth},
		{"AH, one asked for", ours, Advert{AuthType: AuthAH}, ErrAuth},
		{"an unknown type", ours, Advert{AuthType: 9, Password: PasswordOf(ours)}, ErrAuth},
	} {
		g, err := NewGroup(config(1, func(cfg *Config) { cfg.Version, cfg.Password = 2, PasswordOf(c.password) }))
		if err != nil {
			t.Fatal(err)
		}
		g.Startup(epoch)
		c.a.Version, c.a.Priority, c.a.Interval = 2, 200, time.Second
		_, err = g.Receive(epoch, 0, high, c.a)
		if !errors.Is(err, c.want) || errors.Is(err, ErrPassword) != errors.Is(c.want, ErrPassword) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil && (!strings.Contains(err.Error(), high.String()) || strings.Contains(err.Error(), ours)) {
			t.Errorf("%s: %q does not name the peer, or tells the password", c.name, err)
		}
		if heard := g.Peer(0).Addr == high; heard != (c.want == nil) {
			t.Errorf("%s: it counts as heard: %t", c.name, heard)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"want 2 or 3":       func(c *Config) { c.Version = 4 },
		"for resigning":     func(c *Config) { c.Priority = 0 },
		"no virtual router": func(c *Config) { c.Routers = nil },
		"want 10ms":         func(c *Config) { c.Interval = 5 * ms },
		"steps of 10ms":     func(c *Config) { c.Interval = 15 * ms },
		"whole seconds":     func(c *Config) { c.Version, c.Interval = 2, 1500*ms },
		"id 0":              func(c *Config) { c.Routers[0].VRID = 0 },
		"other family":      func(c *Config) { c.Routers[0].Addresses = []netip.Addr{netip.MustParseAddr("fd00::1")} },
		"0 addresses":       func(c *Config) { c.Routers[0].Addresses = nil },
		"a password":        func(c *Config) { c.Password = PasswordOf("x") },
		"want 0s (never)":   func(c *Config) { c.Refresh = -1 },
		"keep one":          func(c *Config) { c.NoPreempt, c.PreemptDelay = true, time.Second },
	} {
		if _, err := NewGroup(config(1, change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestElection lets three routers talk without loss: exactly one is active in
// the end, the best that is there, and no two are for longer than it takes a
// packet to arrive.
func TestElection(t *testing.T) {
	const routers = 3
	var groups []*Group
	for i := range routers {
		primary := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		g, err := NewGroup(config(2, func(c *Config) {
			c.Priority, c.Interval = uint8(50*(i+1)), 100*ms
			c.Routers[0].Primary, c.Routers[1].Primary = primary, primary
		}))
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	alive := [routers]bool{}
	var send func(now time.Time, from int, actions []Action)
	send = func(now time.Time, from int, actions []Action) {
		for _, a := range actions {
			if a.Do != Send {
				continue
			}
			for to, g := range groups {
				if to == from || !alive[to] {
					continue
				}
				answers, err := g.Receive(now, a.Router, groups[from].cfg.Routers[0].Primary, groups[from].Advert(a.Router, a.Priority))
				if err != nil {
					t.Fatal(err)
				}
				send(now, to, answers)
			}
		}
	}
	now := epoch
	run := func(until time.Duration, want State, best int) {
		t.Helper()
		for end := now.Add(until); now.Before(end); now = now.Add(ms) {
			for i, g := range groups {
				if d := g.Deadline(); alive[i] && !d.IsZero() && !now.Before(d) {
					send(now, i, g.Tick(now))
				}
			}
		}
		for i, g := range groups {
			if got := g.State(); alive[i] && (got == Active) != (i == best && want == Active) {
				t.Errorf("at %v router %d is %s; %d should be active", now.Sub(epoch), i, got, best)
			}
		}
	}
	for i, g := range groups {
		alive[i] = true
		send(now, i, g.Startup(now))
	}
	run(time.Second, Active, 2)
	alive[2] = false // killed
	run(500*ms, Active, 1)
	send(now, 1, groups[1].Shutdown(now)) // resigns
	run(200*ms, Active, 0)
	alive[2] = true // back, and believes that it is active
	run(500*ms, Active, 2)
	send(now, 1, groups[1].Startup(now))
	run(time.Second, Active, 2)
}
