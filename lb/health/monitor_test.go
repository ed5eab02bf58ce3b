package health_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func check(change func(*health.Check)) *health.Check {
	c := &health.Check{
		Kind: health.TCP, Interval: 10 * time.Second, Timeout: time.Second, DelayBeforeRetry: time.Second, Rise: 1, Fall: 1,
	}
	if change != nil {
		change(c)
	}
	return c
}

// web is a service with servers of these weights at 10.1.0.1, 10.1.0.2, ...
func web(c *health.Check, weights ...int32) health.Service {
	vip := netip.MustParseAddr("10.0.0.1")
	s := health.Service{
		Name: "web", Spec: lb.Service{Key: lb.AddrKey(lb.TCP, vip, 80), Scheduler: "rr"},
		Check: c, Quorum: 1, Target: health.Target{Addr: vip, Port: 80},
	}
	for i, w := range weights {
		s.Spec.Destinations = append(s.Spec.Destinations, lb.Destination{DestKey: real(i + 1), Weight: w})
	}
	return s
}

func real(i int) lb.DestKey {
	return lb.DestKey{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), Port: 80}
}

// sorry is the sorry server, the ninth.
func sorry(inhibit bool) *health.Sorry {
	return &health.Sorry{Destination: lb.Destination{DestKey: real(9), Weight: 1}, Inhibit: inhibit}
}

// words is a table as "1:weight 2:weight", the servers by number.
func words(m *health.Monitor) string {
	var out []string
	for _, s := range m.Services() {
		for _, d := range s.Destinations {
			out = append(out, fmt.Sprintf("%d:%d", d.Addr.As4()[3], d.Weight))
		}
	}
	return strings.Join(out, " ")
}

// clock drives a Monitor by hand.
type clock struct {
	m   *health.Monitor
	now time.Time
}

// step lets all checks that come next happen: servers with a number in fail
// fail. It tells how much time went by.
func (c *clock) step(fail ...int) (time.Duration, []health.Event) {
	next := c.m.Next()
	waited := next.Sub(c.now)
	if waited > 0 {
		c.now = next
	}
	var events []health.Event
	for _, p := range c.m.Due(c.now) {
		var err error
		if slices.Contains(fail, int(p.Server.Addr.As4()[3])) {
			err = errors.New("refused")
		}
		events = append(events, c.m.Result(c.now, p, err)...)
	}
	return max(waited, 0), events
}

func kinds(events []health.Event) string {
	var out []string
	for _, e := range events {
		text := string(e.Kind)
		if e.Server.Addr.IsValid() {
			text = fmt.Sprintf("%d %s", e.Server.Addr.As4()[3], text)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// TestVerdicts plays what checks give, step by step.
func TestVerdicts(t *testing.T) {
	type step struct {
		fail   []int
		waited time.Duration
		events string
		table  string
	}
	const loop, retry = 10 * time.Second, time.Second
	none := []int(nil)
	for _, c := range []struct {
		name    string
		service health.Service
		before  string // the table before the first check
		steps   []step
	}{
		{"removed after one failure, back after one success", web(check(nil), 1, 2), "1:1 2:2", []step{
			{none, 0, "", "1:1 2:2"},
			{[]int{2}, loop, "2 down", "1:1"},
			{[]int{2}, loop, "", "1:1"},
			{none, loop, "2 up", "1:1 2:2"},
		}},
		{"inhibited", web(check(func(c *health.Check) { c.Inhibit = true }), 1, 2), "1:1 2:2", []step{
			{[]int{2}, 0, "2 down", "1:1 2:0"},
			{none, loop, "2 up", "1:1 2:2"},
		}},
		{"fall counts failures in a row, at the retry's pace", web(check(func(c *health.Check) { c.Fall = 3 }), 1), "1:1", []step{
			{[]int{1}, 0, "", "1:1"},
			{[]int{1}, retry, "", "1:1"},
			{none, retry, "", "1:1"}, // the count begins again
			{[]int{1}, loop, "", "1:1"},
			{[]int{1}, retry, "", "1:1"},
			{[]int{1}, retry, "1 down, quorum lost", ""},
			{[]int{1}, loop, "", ""},
		}},
		{"rise counts successes in a row", web(check(func(c *health.Check) { c.Rise = 2 }), 1), "1:1", []step{
			{[]int{1}, 0, "1 down, quorum lost", ""},
			{none, loop, "", ""},
			{[]int{1}, retry, "", ""}, // the count begins again
			{none, loop, "", ""},
			{none, retry, "1 up, quorum gained", "1:1"},
		}},
		{"alpha: down until the first success", web(check(func(c *health.Check) { c.Alpha = true }), 1, 1), "", []step{
			{[]int{2}, 0, "1 up, quorum gained", "1:1"},
			{none, loop, "2 up", "1:1 2:1"},
		}},
		{"the sorry server stands in for all", func() health.Service {
			s := web(check(nil), 1, 1)
			s.Quorum, s.Sorry = 2, sorry(false)
			return s
		}(), "1:1 2:1", []step{
			{[]int{2}, 0, "2 down, quorum lost", "9:1"},
			{[]int{1, 2}, loop, "1 down", "9:1"},
			{[]int{2}, loop, "1 up", "9:1"},
			{none, loop, "2 up, quorum gained", "1:1 2:1"},
		}},
		{"inhibited servers stay beside an inhibited sorry server", func() health.Service {
			s := web(check(func(c *health.Check) { c.Inhibit = true }), 1, 3)
			s.Quorum, s.Sorry = 2, sorry(true)
			return s
		}(), "1:1 2:3 9:0", []step{
			{[]int{2}, 0, "2 down, quorum lost", "1:0 2:0 9:1"},
			{none, loop, "2 up, quorum gained", "1:1 2:3 9:0"},
		}},
		{"without a sorry server whoever is left serves on", func() health.Service {
			s := web(check(nil), 1, 1)
			s.Quorum = 2
			return s
		}(), "1:1 2:1", []step{
			{[]int{2}, 0, "2 down, quorum lost", "1:1"},
			{[]int{1, 2}, loop, "1 down", ""},
		}},
		{"hysteresis: lost below 3-1, gained at 3+1", func() health.Service {
			s := web(check(nil), 1, 1, 1, 1)
			s.Quorum, s.Hysteresis, s.Sorry = 3, 1, sorry(false)
			return s
		}(), "1:1 2:1 3:1 4:1", []step{
			{[]int{1}, 0, "1 down", "2:1 3:1 4:1"},
			{[]int{1, 2}, loop, "2 down", "3:1 4:1"},
			{[]int{1, 2, 3}, loop, "3 down, quorum lost", "9:1"},
			{[]int{1, 2}, loop, "3 up", "9:1"},
			{[]int{1}, loop, "2 up", "9:1"},
			{none, loop, "1 up, quorum gained", "1:1 2:1 3:1 4:1"},
		}},
		{"weight 0 counts for nothing", func() health.Service {
			s := web(check(nil), 0, 1)
			s.Sorry = sorry(false)
			return s
		}(), "1:0 2:1", []step{
			{[]int{2}, 0, "2 down, quorum lost", "9:1"},
		}},
		{"unchecked: always up", web(nil, 1, 1), "1:1 2:1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := health.NewMonitor([]health.Service{c.service}, start, health.Options{})
			clock := &clock{m: m, now: start}
			if got := words(m); got != c.before {
				t.Errorf("before: table %q, want %q", got, c.before)
			}
			for i, s := range c.steps {
				waited, events := clock.step(s.fail...)
				got := step{s.fail, waited, kinds(events), words(m)}
				if d := cmp.Diff(s, got, cmp.AllowUnexported(step{})); d != "" {
					t.Errorf("step %d (-want +got):\n%s", i, d)
				}
			}
		})
	}
}

// TestWarmUp spreads the first checks by what chance says.
func TestWarmUp(t *testing.T) {
	c := check(func(c *health.Check) { c.WarmUp = 8 * time.Second })
	var asked []time.Duration
	m := health.NewMonitor([]health.Service{web(c, 1, 1)}, start, health.Options{Random: func(most time.Duration) time.Duration {
		asked = append(asked, most)
		return time.Duration(len(asked)) * time.Second
	}})
	if !slices.Equal(asked, []time.Duration{8 * time.Second, 8 * time.Second}) {
		t.Errorf("asked for %v", asked)
	}
	if due := m.Due(start); len(due) > 0 {
		t.Errorf("due at once: %v", due)
	}
	if next := m.Next(); !next.Equal(start.Add(time.Second)) {
		t.Errorf("next at %v", next)
	}
	due := m.Due(start.Add(time.Second))
	if len(due) != 1 || due[0].Server.DestKey != real(1) {
		t.Errorf("due %v", due)
	}
	if again := m.Due(start.Add(time.Second)); len(again) > 0 {
		t.Errorf("checked twice at a time: %v", again)
	}
}

// TestReload keeps what is known, forgets who is gone, and takes no notice of
// results that come too late.
func TestReload(t *testing.T) {
	c := check(nil)
	m := health.NewMonitor([]health.Service{web(c, 1, 1)}, start, health.Options{})
	clock := &clock{m: m, now: start}
	clock.step(1)
	late := m.Due(start.Add(time.Minute))
	next := web(c, 5, 1, 1)
	if events := m.Reload([]health.Service{next}, start); len(events) > 0 {
		t.Errorf("events %v", events)
	}
	if got := words(m); got != "2:1 3:1" {
		t.Errorf("after reload: %q", got)
	}
	other := *c
	other.Port = 81
	next.Check = &other // another check: what the old one said does not count
	m.Reload([]health.Service{next}, start)
	if got := words(m); got != "1:5 2:1 3:1" {
		t.Errorf("with another check: %q", got)
	}
	for _, p := range late {
		if events := m.Result(start, p, errors.New("late")); len(events) > 0 {
			t.Errorf("a late result gave %v", events)
		}
	}
	m.Reload([]health.Service{web(nil, 1)}, start)
	if got := words(m); got != "1:1" || !m.Next().IsZero() {
		t.Errorf("without check: %q, next %v", got, m.Next())
	}
}

// TestChecksAtTheVIP gives DR and TUN servers a mark each, which stays, and a
// service in the table that takes the check to that server alone.
func TestChecksAtTheVIP(t *testing.T) {
	s := web(check(nil), 1, 1, 1)
	s.Spec.Destinations[1].Forward = lb.DR
	s.Spec.Destinations[2].Forward = lb.TUN
	s.Spec.Destinations[2].Tunnel = lb.Tunnel{Type: lb.GUE, Port: 6080}
	taken := health.Service{Name: "marked", Spec: lb.Service{Key: lb.MarkKey(100, lb.IPv4), Scheduler: "rr"}}
	m := health.NewMonitor([]health.Service{s, taken}, start, health.Options{FirstMark: 100})
	type at struct {
		Mark uint32
		To   string
	}
	see := func(m *health.Monitor, now time.Time) []at {
		var out []at
		for _, p := range m.Due(now) {
			out = append(out, at{p.Mark, p.Address.String()})
			m.Result(now, p, errors.New("down")) // the check's way stays, also for a server that is down
		}
		return out
	}
	want := []at{{0, "10.1.0.1:80"}, {101, "10.0.0.1:80"}, {102, "10.0.0.1:80"}}
	if d := cmp.Diff(want, see(m, start)); d != "" {
		t.Errorf("probes (-want +got):\n%s", d)
	}
	carriers := m.Carriers()
	if len(m.Services()) != 2 || len(carriers) != 2 {
		t.Fatalf("services %+v, carriers %+v", m.Services(), carriers)
	}
	carrier := carriers[1]
	d := carrier.Destinations[0]
	if carrier.FWMark != 102 || len(carrier.Destinations) != 1 || d.Addr != real(3).Addr || d.Weight != 1 || d.Forward != lb.TUN || d.Tunnel.Port != 6080 {
		t.Errorf("carrier of checks %+v", carrier)
	}
	if err := errors.Join(carrier.Validate(), carriers[0].Validate()); err != nil {
		t.Error(err)
	}
	s.Spec.Destinations = s.Spec.Destinations[2:]
	m.Reload([]health.Service{s, taken}, start)
	if got := see(m, start.Add(time.Hour)); len(got) != 1 || got[0].Mark != 102 {
		t.Errorf("after reload %v: the mark should stay", got)
	}
}

// TestOwnChecks has checks of single servers: of several all must succeed, each
// at its own pace, and nobody else's count.
func TestOwnChecks(t *testing.T) {
	tcp := check(nil)
	s := web(tcp, 1, 1, 1)
	slow := *check(func(c *health.Check) { c.Kind, c.Path, c.Interval, c.Inhibit = health.HTTP, "/", 30*time.Second, true })
	s.Own = [][]health.Check{nil, {*tcp, slow}} // the third is beyond its end
	m := health.NewMonitor([]health.Service{s}, start, health.Options{})
	fail := func(now time.Time, which func(health.Probe) bool) (events []health.Event, done int) {
		for _, p := range m.Due(now) {
			var err error
			if which(p) {
				err = errors.New("refused")
			}
			events = append(events, m.Result(now, p, err)...)
			done++
		}
		return events, done
	}
	second := func(p health.Probe) bool { return p.Server.DestKey == real(2) }
	none := func(health.Probe) bool { return false }
	for i, step := range []struct {
		after  time.Duration
		fails  func(health.Probe) bool
		checks int
		events string
		table  string
	}{
		{0, none, 4, "", "1:1 2:1 3:1"},
		{10 * time.Second, second, 3, "2 down", "1:1 2:0 3:1"}, // tcp: every 10 s; inhibited, as one of its checks has it
		{30 * time.Second, second, 4, "", "1:1 2:0 3:1"},       // http as well
		{40 * time.Second, none, 3, "", "1:1 2:0 3:1"},         // tcp alone is due, and well
		{60 * time.Second, none, 4, "2 up", "1:1 2:1 3:1"},
	} {
		events, done := fail(start.Add(step.after), step.fails)
		if kinds(events) != step.events || words(m) != step.table || done != step.checks {
			t.Errorf("step %d: %d checks, events %q, table %q; want %d, %q, %q", i, done, kinds(events), words(m), step.checks, step.events, step.table)
		}
	}
	// A reload keeps what is known of checks that stay.
	fail(start.Add(70*time.Second), second)
	s.Own[1] = []health.Check{slow, *tcp}
	m.Reload([]health.Service{s}, start.Add(71*time.Second))
	if got := words(m); got != "1:1 2:0 3:1" {
		t.Errorf("after a reload the table is %q", got)
	}
	s.Own = nil
	m.Reload([]health.Service{s}, start.Add(72*time.Second))
	if got := words(m); got != "1:1 3:1" {
		t.Errorf("after a reload without the server's own checks the table is %q", got)
	}
}
