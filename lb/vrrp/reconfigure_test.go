package vrrp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// reconfigured changes the configuration; kept is that of Reconfigure, nil: all
// routers stay.
func reconfigured(kept []Kept, change func(*Config)) func(*Group, time.Time) []Action {
	return func(g *Group, now time.Time) []Action {
		cfg := g.cfg
		cfg.Routers = append([]Router(nil), cfg.Routers...)
		change(&cfg)
		if kept == nil {
			for i := range cfg.Routers {
				kept = append(kept, Kept{From: i})
			}
		}
		actions, err := g.Reconfigure(now, cfg, kept)
		if err != nil {
			return []Action{{Do: Change, Why: err.Error()}}
		}
		return actions
	}
}

func priority(p uint8) func(*Config)          { return func(c *Config) { c.Priority = p } }
func interval(d time.Duration) func(*Config)  { return func(c *Config) { c.Interval = d } }
func addresses(a ...netip.Addr) func(*Config) { return func(c *Config) { c.Routers[0].Addresses = a } }

func another(c *Config) {
	c.Routers = append(c.Routers, Router{Name: "more", VRID: 51, Primary: self, Addresses: []netip.Addr{vip}})
}

// skewOf is that of a priority at an interval of one second.
func skewOf(p int) time.Duration { return time.Duration(256-p) * time.Second / 256 }

// TestReconfigure: what another configuration leads to in each state. The only
// changes of state are those that a link, or being the owner, brings.
func TestReconfigure(t *testing.T) {
	started := step{0, startup, "initialize>backup", down}
	begun := []step{started, {down, tick, active, time.Second + down}}
	vip2 := netip.MustParseAddr("10.0.0.101")
	for _, c := range []struct {
		name   string
		change func(*Config)
		nets   int
		begin  []step
		steps  []step
	}{
		{"active: priority is said at once", nil, 1, begun, []step{
			{4 * time.Second, reconfigured(nil, priority(90)), "send0:90", 5 * time.Second},
			{4700 * ms, hear(low, 80), "send0:90 announce0 notice0", 5 * time.Second},
			{4800 * ms, hear(low, 95), "give active>backup send0:90", 4800*ms + 3*time.Second + skewOf(90)},
		}},
		{"active: a longer interval is said before others lose patience", nil, 1, begun, []step{
			{4 * time.Second, reconfigured(nil, interval(10*time.Second)), "send0:100", down + reannounce},
			{down + reannounce, tick, "announce0", 14 * time.Second},
			{14 * time.Second, tick, "send0:100", 24 * time.Second},
		}},
		{"active: a shorter interval", nil, 1, begun, []step{
			{4 * time.Second, reconfigured(nil, interval(100*ms)), "send0:100", 4100 * ms},
		}},
		{"active: a VIP more is put on and announced, and once more", nil, 1, begun, []step{
			{4 * time.Second, reconfigured(nil, addresses(vip, vip2)), "send0:100 take announce0", 5 * time.Second},
			{5 * time.Second, tick, "send0:100", 6 * time.Second},
			{8800 * ms, tick, "send0:100", 4*time.Second + reannounce},
			{4*time.Second + reannounce, tick, "announce0", 9800 * ms},
		}},
		{"active: a VIP less", nil, 1, []step{started, {down, reconfigured(nil, addresses(vip, vip2)), "", down}, {down, tick, active, time.Second + down}}, []step{
			{4 * time.Second, reconfigured(nil, addresses(vip2)), "send0:100", 5 * time.Second},
		}},
		{"active: a network more", nil, 1, begun, []step{
			{4 * time.Second, reconfigured([]Kept{{From: 0}, {From: -1}}, another), "send0:100 send1:100 take announce1", 5 * time.Second},
			{4500 * ms, linkDown(1), "give send0:0 active>initialize", never},
		}},
		{"active: a network more whose link is down", nil, 1, begun, []step{
			{4 * time.Second, reconfigured([]Kept{{From: 0}, {From: -1, LinkDown: true}}, another), "give send0:0 active>initialize", never},
			{5 * time.Second, linkUp(1), "initialize>backup", 5*time.Second + down},
		}},
		{"active: a network less", nil, 2, []step{
			started,
			{down, tick, "send0:100 send1:100 take announce0 announce1 backup>active", time.Second + down},
		}, []step{
			{4 * time.Second, reconfigured([]Kept{{From: 1}}, func(c *Config) { c.Routers = c.Routers[1:] }), "send0:100", 5 * time.Second},
		}},
		{"active: preemption, its delay and a password are not of its concern", func(c *Config) { c.Version = 2 }, 1, begun, []step{
			{4 * time.Second, reconfigured(nil, func(c *Config) { c.NoPreempt, c.Password = true, PasswordOf("x") }), "send0:100", 5 * time.Second},
		}},
		{"backup: a lower priority waits longer", nil, 1, []step{started}, []step{
			{time.Second, hear(high, 150), "", time.Second + down},
			{2 * time.Second, reconfigured(nil, priority(50)), "", 4*time.Second + skewOf(50)},
		}},
		{"backup: a greater priority than the active router's preempts", nil, 1, []step{started}, []step{
			{time.Second, hear(high, 150), "", time.Second + down},
			{1500 * ms, reconfigured(nil, priority(200)), "", 4*time.Second + skewOf(200)},
			{2 * time.Second, hear(high, 150), "", 4*time.Second + skewOf(200)},
			{4*time.Second + skewOf(200), tick, "send0:200 take announce0 backup>active", 5*time.Second + skewOf(200)},
		}},
		{"backup: unless it is told not to", nil, 1, []step{started}, []step{
			{time.Second, hear(high, 150), "", time.Second + down},
			{1500 * ms, reconfigured(nil, func(c *Config) { c.Priority, c.NoPreempt = 200, true }), "", 4*time.Second + skewOf(200)},
			{2 * time.Second, hear(high, 150), "", 5*time.Second + skewOf(200)},
		}},
		{"backup: or only later", nil, 1, []step{started}, []step{
			{time.Second, hear(high, 150), "", time.Second + down},
			{1500 * ms, reconfigured(nil, func(c *Config) { c.Priority, c.PreemptDelay = 200, 10*time.Second }), "", 4*time.Second + skewOf(200)},
			{2 * time.Second, hear(high, 150), "", 5*time.Second + skewOf(200)},
			{11 * time.Second, hear(high, 150), "", 14*time.Second + skewOf(200)},
			{12 * time.Second, hear(high, 150), "", 14*time.Second + skewOf(200)},
		}},
		{"backup: a delay that is taken back", func(c *Config) { c.PreemptDelay = time.Hour }, 1, []step{started}, []step{
			{time.Second, hear(low, 50), "", time.Second + down},
			{1500 * ms, reconfigured(nil, func(c *Config) { c.PreemptDelay = 0 }), "", time.Second + down},
			{2 * time.Second, hear(low, 50), "", time.Second + down},
		}},
		{"backup: version 3 keeps the active router's interval", nil, 1, []step{started}, []step{
			{time.Second, hearOn(0, high, 150, 2*time.Second), "", time.Second + 2*down},
			{1500 * ms, reconfigured(nil, interval(100*ms)), "", time.Second + 2*down},
		}},
		{"backup: which nobody has said yet", nil, 1, []step{started}, []step{
			{500 * ms, reconfigured(nil, interval(100*ms)), "", 500*ms + down/10},
		}},
		{"backup: version 2 gives the others time to have the interval, too", func(c *Config) { c.Version, c.Interval = 2, 5*time.Second }, 1, []step{{0, startup, "initialize>backup", 15*time.Second + skew}}, []step{
			{time.Second, hearOn(0, high, 150, 5*time.Second), "", 16*time.Second + skew},
			{5900 * ms, reconfigured(nil, interval(time.Second)), "", 5900*ms + down},
		}},
		{"backup: and to have the password", func(c *Config) { c.Version = 2 }, 1, []step{started}, []step{
			{time.Second, hear(high, 150), "", time.Second + down},
			{4 * time.Second, reconfigured(nil, func(c *Config) { c.Password = PasswordOf("x") }), "", 4*time.Second + down},
		}},
		{"backup: a network more has to be silent, too", nil, 1, []step{started}, []step{
			{3 * time.Second, reconfigured([]Kept{{From: 0}, {From: -1}}, another), "", 3*time.Second + down},
		}},
		{"backup: a VIP more is the active router's", nil, 1, []step{started}, []step{
			{time.Second, reconfigured(nil, addresses(vip, vip2)), "", down},
		}},
		{"backup: the owner of the addresses takes them", nil, 1, []step{started}, []step{
			{time.Second, reconfigured(nil, priority(Owner)), "send0:255 take announce0 backup>active", 2 * time.Second},
		}},
		{"initialize: without the network whose link is down it begins", nil, 2, []step{started, {time.Second, linkDown(0), "backup>initialize", never}}, []step{
			{2 * time.Second, reconfigured([]Kept{{From: 1}}, func(c *Config) { c.Routers = c.Routers[1:] }), "initialize>backup", 2*time.Second + down},
		}},
		{"initialize: with it it waits on", nil, 2, []step{started, {time.Second, linkDown(0), "backup>initialize", never}}, []step{
			{2 * time.Second, reconfigured(nil, priority(Owner)), "", never},
			{3 * time.Second, linkUp(0), "send0:255 send1:255 take announce0 announce1 initialize>active", 4 * time.Second},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, config(c.nets, c.change), append(append([]step(nil), c.begin...), c.steps...))
		})
	}
}

func TestReconfigureRefuses(t *testing.T) {
	g, err := NewGroup(config(1, nil))
	if err != nil {
		t.Fatal(err)
	}
	g.Startup(epoch)
	wrong := config(1, priority(Resign))
	if actions, err := g.Reconfigure(epoch, wrong, []Kept{{From: 0}}); err == nil || !strings.Contains(err.Error(), "priority 0") || actions != nil {
		t.Errorf("priority 0: %v, %v", words(actions), err)
	}
	if a := g.Advert(0, g.cfg.Priority); a.Priority != 100 {
		t.Errorf("it is in force: %+v", a)
	}
}
