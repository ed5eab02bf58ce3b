package health

import (
	"fmt"
	"slices"
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

// server is one real server of a service.
type server struct {
	dest    lb.Destination
	up      bool
	count   int       // results in a row that speak against up
	due     time.Time // of the next check
	running uint64    // the check that is under way; 0: none
	reason  string    // of the last failure
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
		for _, d := range given.Spec.Destinations {
			s.servers = append(s.servers, m.server(s, before, d, now))
		}
		if before != nil && before.Check != nil && s.Check != nil {
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

// server is a new server, or the one that was watched before.
func (m *Monitor) server(s, before *service, d lb.Destination, now time.Time) *server {
	if before != nil && before.Check != nil && s.Check != nil && before.Check.same(s.Check) {
		for _, known := range before.servers {
			if known.dest.DestKey == d.DestKey {
				known.dest = d
				return known
			}
		}
	}
	fresh := &server{dest: d, up: true}
	if s.Check != nil {
		fresh.up = !s.Check.Alpha
		fresh.due = now.Add(m.opts.Random(s.Check.WarmUp))
	}
	return fresh
}

// Probe is a check that is due.
type Probe struct {
	Service Service
	Server  lb.Destination
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
// Result comes; a server is not checked twice at a time.
func (m *Monitor) Due(now time.Time) []Probe {
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []Probe
	for _, s := range m.services {
		if s.Check == nil {
			continue
		}
		for _, v := range s.servers {
			if v.running != 0 || v.due.After(now) {
				continue
			}
			m.probes++
			v.running = m.probes
			due = append(due, m.probe(s, v))
		}
	}
	return due
}

func (m *Monitor) probe(s *service, v *server) Probe {
	p := Probe{Service: s.Service, Server: v.dest, Address: v.dest.DestKey, id: v.running}
	p.Mark = m.marks[serverID{s.Name, v.dest.DestKey}]
	if p.Mark != 0 {
		p.Address = s.Target
	}
	switch {
	case s.Check.Port != 0:
		p.Address.Port = s.Check.Port
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
		if s.Check == nil {
			continue
		}
		for _, v := range s.servers {
			if v.running == 0 && (next.IsZero() || v.due.Before(next)) {
				next = v.due
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
	if s == nil || s.Check == nil {
		return nil
	}
	i := slices.IndexFunc(s.servers, func(v *server) bool { return v.running == p.id })
	if i < 0 {
		return nil
	}
	v := s.servers[i]
	v.running = 0
	if !v.result(now, s.Check, failure) {
		return nil
	}
	e := Event{Time: now, Service: s.Name, Server: v.dest.DestKey, Kind: Up}
	if !v.up {
		e.Kind, e.Reason = Down, v.reason
	}
	return append([]Event{e}, s.judge(now)...)
}

// result counts a result and tells whether it is a verdict that changes the server's state.
func (v *server) result(now time.Time, c *Check, failure error) (changed bool) {
	v.due = now.Add(c.Interval)
	v.reason = ""
	if failure != nil {
		v.reason = failure.Error()
	}
	if (failure == nil) == v.up {
		v.count = 0
		return false
	}
	v.count++
	enough := c.Rise
	if v.up {
		enough = c.Fall
	}
	if v.count < enough {
		v.due = now.Add(c.DelayBeforeRetry)
		return false
	}
	v.up, v.count = !v.up, 0
	return true
}

// judge decides whether the service has its quorum, as keepalived does
// (check/ipwrapper.c, update_quorum_state): a quorum that is had is
// lost without any weight, or below the quorum less the hysteresis; one that is
// not is gained at the quorum plus the hysteresis.
func (s *service) judge(now time.Time) []Event {
	if s.Check == nil {
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
		if v.up {
			sum += int(v.dest.Weight)
		}
	}
	return sum
}
