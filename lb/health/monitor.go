package health

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// Options are what a Monitor's surroundings provide. The zero value suits a test.
type Options struct {
	// Random gives a time from 0 to below its argument, for the warm-up; nil: 0.
	Random func(time.Duration) time.Duration
	// FirstMark, if not zero, is the first of the firewall marks with which
	// checks of DR and TUN servers are sent to the VIP: see [Probe.Mark].
	FirstMark uint32
}

// Monitor keeps the verdicts on the real servers of a director's services.
// Whoever drives it starts the checks that are due, hands in their results, and
// makes the table hold Services. It may be used by several goroutines.
type Monitor struct {
	opts Options

	mu       sync.Mutex
	services []*service
	marks    map[serverID]uint32
	used     map[uint32]bool
	probes   uint64 // that were started
}

// service is a service and what is known of it.
type service struct {
	Service
	servers []*server // parallel to Spec.Destinations
	quorum  bool
}

// server is one real server of a service. It is up if all its checks say so.
type server struct {
	dest   lb.Destination
	checks []*verdict
}

// verdict is what one check says of a server, and what it is about to say.
type verdict struct {
	check   *Check
	up      bool
	count   int       // results in a row that speak against up
	due     time.Time // of the next check
	running uint64    // the check that is under way; 0: none
	reason  string    // of the last failure
}

func (v *server) up() bool {
	return !slices.ContainsFunc(v.checks, func(c *verdict) bool { return !c.up })
}

// inhibited tells whether it stays in the table with weight 0 when it is down.
func (v *server) inhibited() bool {
	return slices.ContainsFunc(v.checks, func(c *verdict) bool { return c.check.Inhibit })
}

// reason is why the last checks failed.
func (v *server) reason() string {
	var out []string
	for _, c := range v.checks {
		if c.reason != "" {
			out = append(out, c.reason)
		}
	}
	return strings.Join(out, "; ")
}

type serverID struct {
	service string
	dest    lb.DestKey
}

// NewMonitor begins to watch services at a time; the first checks are due
// within their warm-up.
func NewMonitor(services []Service, now time.Time, o Options) *Monitor {
	if o.Random == nil {
		o.Random = func(time.Duration) time.Duration { return 0 }
	}
	m := &Monitor{opts: o, marks: map[serverID]uint32{}, used: map[uint32]bool{}}
	m.reload(services, now)
	return m
}

// Reload watches other services from now on. What is known of servers that stay,
// with the same check, is kept.
func (m *Monitor) Reload(services []Service, now time.Time) []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reload(services, now)
}

func (m *Monitor) reload(services []Service, now time.Time) []Event {
	old := m.services
	m.services = nil
	clear(m.used)
	for _, s := range services {
		m.used[s.Spec.FWMark] = true
	}
	var events []Event
	for _, given := range services {
		s := &service{Service: given, quorum: true}
		before := find(old, given.Name)
		for i, d := range given.Spec.Destinations {
			s.servers = append(s.servers, m.server(given.Checks(i), before, d, now))
		}
		if before != nil && before.Watched() && s.Watched() {
			s.quorum = before.quorum
		}
		m.services = append(m.services, s)
		events = append(events, s.judge(now)...)
	}
	m.assignMarks()
	return events
}

func find(services []*service, name string) *service {
	i := slices.IndexFunc(services, func(s *service) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return services[i]
}

// server is a new server, or the one that was watched before. A check that it
// has had goes on.
func (m *Monitor) server(checks []*Check, before *service, d lb.Destination, now time.Time) *server {
	v := &server{dest: d}
	var had []*verdict
	if before != nil {
		for _, known := range before.servers {
			if known.dest.DestKey == d.DestKey {
				had = slices.Clone(known.checks)
			}
		}
	}
	for _, c := range checks {
		at := slices.IndexFunc(had, func(o *verdict) bool { return o.check.same(c) })
		if at >= 0 {
			had[at].check = c
			v.checks = append(v.checks, had[at])
			had = slices.Delete(had, at, at+1)
			continue
		}
		v.checks = append(v.checks, &verdict{check: c, up: !c.Alpha, due: now.Add(m.opts.Random(c.WarmUp))})
	}
	return v
}

// Probe is a check that is due.
type Probe struct {
	Service Service
	Server  lb.Destination
	Check   *Check // the one to do
	// Address is what to connect to: the server's own address, or the VIP if
	// there is a mark.
	Address lb.DestKey
	// Mark, if not zero, is to be set on the packets (SO_MARK): the table has a
	// service of that firewall mark with this server alone, so that IPVS itself
	// takes the check to the server, by DR or through the tunnel, with the VIP as
	// its destination, as it does with clients' packets.
	Mark uint32

	id uint64
}

// Due are the checks that are to be started now. Each is under way until its
// Result comes; no check of a server is done twice at a time.
func (m *Monitor) Due(now time.Time) []Probe {
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []Probe
	for _, s := range m.services {
		for _, v := range s.servers {
			for _, c := range v.checks {
				if c.running != 0 || c.due.After(now) {
					continue
				}
				m.probes++
				c.running = m.probes
				due = append(due, m.probe(s, v, c))
			}
		}
	}
	return due
}

func (m *Monitor) probe(s *service, v *server, c *verdict) Probe {
	p := Probe{Service: s.Service, Server: v.dest, Check: c.check, Address: v.dest.DestKey, id: c.running}
	if c.check.Kind != Command {
		p.Mark = m.marks[serverID{s.Name, v.dest.DestKey}]
	}
	if p.Mark != 0 {
		p.Address = s.Target
	}
	switch {
	case c.check.Port != 0:
		p.Address.Port = c.check.Port
	case p.Address.Port == 0:
		p.Address.Port = s.Target.Port
	}
	return p
}

// Next is when the next check is due; the zero Time if none will be as long as
// those that are under way have no result.
func (m *Monitor) Next() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	var next time.Time
	for _, s := range m.services {
		for _, v := range s.servers {
			for _, c := range v.checks {
				if c.running == 0 && (next.IsZero() || c.due.Before(next)) {
					next = c.due
				}
			}
		}
	}
	return next
}

// Result is how a check ended; failure is nil if it succeeded. The events tell
// what changes; without any, Services is what it was. A result that nobody
// waits for any more, after a Reload, changes nothing.
func (m *Monitor) Result(now time.Time, p Probe, failure error) []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := find(m.services, p.Service.Name)
	if s == nil {
		return nil
	}
	v, c := s.running(p.id)
	if c == nil {
		return nil
	}
	was := v.up()
	c.running = 0
	c.result(now, failure)
	if v.up() == was {
		return nil
	}
	e := Event{Time: now, Service: s.Name, Server: v.dest.DestKey, Kind: Up}
	if was {
		e.Kind, e.Reason = Down, c.reason
	}
	return append([]Event{e}, s.judge(now)...)
}

// running finds the check that is under way by a number.
func (s *service) running(id uint64) (*server, *verdict) {
	for _, v := range s.servers {
		for _, c := range v.checks {
			if c.running == id {
				return v, c
			}
		}
	}
	return nil, nil
}

// result counts a result, which may make a verdict.
func (c *verdict) result(now time.Time, failure error) {
	c.due = now.Add(c.check.Interval)
	c.reason = ""
	if failure != nil {
		c.reason = failure.Error()
	}
	if (failure == nil) == c.up {
		c.count = 0
		return
	}
	c.count++
	enough := c.check.Rise
	if c.up {
		enough = c.check.Fall
	}
	if c.count < enough {
		c.due = now.Add(c.check.DelayBeforeRetry)
		return
	}
	c.up, c.count = !c.up, 0
}

// judge decides whether the service has its quorum, as keepalived does
// (check/ipwrapper.c, update_quorum_state): a quorum that is had is
// lost without any weight, or below the quorum less the hysteresis; one that is
// not is gained at the quorum plus the hysteresis.
func (s *service) judge(now time.Time) []Event {
	if !s.Watched() {
		return nil
	}
	sum := s.weight()
	had := s.quorum
	if had {
		s.quorum = sum > 0 && sum >= s.Quorum-s.Hysteresis
	} else {
		s.quorum = sum >= s.Quorum+s.Hysteresis
	}
	if s.quorum == had {
		return nil
	}
	e := Event{Time: now, Service: s.Name, Kind: QuorumGained}
	if had {
		e.Kind = QuorumLost
	}
	e.Reason = fmt.Sprintf("the weights of the real servers that are up make %d; the quorum is %d, the hysteresis %d", sum, s.Quorum, s.Hysteresis)
	return []Event{e}
}

// weight is the sum of the weights of the servers that are up.
func (s *service) weight() int {
	sum := 0
	for _, v := range s.servers {
		if v.up() {
			sum += int(v.dest.Weight)
		}
	}
	return sum
}
