package oracle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// The errors that callers branch on. The kernel's own answers are EEXIST,
// ENOENT and ERANGE.
var (
	ErrExists    = errors.New("already exists")
	ErrNotFound  = errors.New("not found")
	ErrThreshold = errors.New("lower threshold is above the upper one")
	ErrWeight    = errors.New("negative weight")
	ErrScheduler = errors.New("unknown scheduler")
)

// Model is one virtual service in the kernel's eyes.
type Model struct {
	service   lb.Service // without its destinations
	table     table
	scheduler scheduler
	trash     []*dest // removed, but still to be resurrected
	conns     map[Conn]*entry
	templates map[template]*entry
}

// New makes the model of a service and adds its destinations in order. The
// error is ErrScheduler or one of [Model.Add]'s.
func New(s lb.Service, v Variant) (*Model, error) {
	m := &Model{conns: map[Conn]*entry{}, templates: map[template]*entry{}}
	fixed := rand.New(rand.NewPCG(1, 2))
	m.table = table{family: s.Family, variant: v, random: fixed.IntN}
	if s.Family == 0 && s.Addr.IsValid() {
		m.table.family = lb.FamilyOf(s.Addr)
	}
	if err := m.EditService(s); err != nil {
		return nil, err
	}
	for _, d := range s.Destinations {
		if err := m.Add(d); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Random replaces the source of chance of the scheduler twos, whose picks are
// an example, not a prediction. The function is uniform in [0, n).
func (m *Model) Random(intn func(n int) int) { m.table.random = intn }

// EditService changes scheduler, flags, persistence and mask; the key and the
// destinations of s are not looked at. Another scheduler begins afresh, the
// same one keeps its state (ip_vs_ctl.c, ip_vs_edit_service).
func (m *Model) EditService(s lb.Service) error {
	if s.Scheduler != m.service.Scheduler {
		build, ok := schedulers[s.Scheduler]
		if !ok {
			return fmt.Errorf("set scheduler %q: %w", s.Scheduler, ErrScheduler)
		}
		m.scheduler = build()
		m.scheduler.changed(&m.table, change{kind: bound})
	}
	key := m.service.Key
	if m.service.Scheduler == "" {
		key = s.Key
	}
	m.service = s
	m.service.Key = key
	m.service.Destinations = nil
	m.table.flags = s.Flags
	return nil
}

// Add adds a destination at the head of the list. One that was removed before
// and is still in the kernel's trash comes back with its connections and its
// overload mark (ip_vs_ctl.c, ip_vs_add_dest).
func (m *Model) Add(d lb.Destination) error {
	if err := check("add", d); err != nil {
		return err
	}
	if m.scheduler == nil {
		return fmt.Errorf("add destination %v: service %w", d.DestKey, ErrNotFound)
	}
	if m.find(d.DestKey) != nil {
		return fmt.Errorf("add destination %v: %w", d.DestKey, ErrExists)
	}
	one := &dest{key: d.DestKey}
	if i := slices.IndexFunc(m.trash, func(o *dest) bool { return o.key == d.DestKey }); i >= 0 {
		one = m.trash[i]
		m.trash = slices.Delete(m.trash, i, i+1)
	}
	one.update(d, true, m.table.variant.Overload)
	m.table.dests = slices.Insert(m.table.dests, 0, one)
	m.scheduler.changed(&m.table, change{kind: added, dest: one})
	return nil
}

// Edit changes a destination's weight and thresholds; its place in the list
// stays (ip_vs_ctl.c, ip_vs_edit_dest).
func (m *Model) Edit(d lb.Destination) error {
	if err := check("edit", d); err != nil {
		return err
	}
	one := m.find(d.DestKey)
	if one == nil {
		return fmt.Errorf("edit destination %v: %w", d.DestKey, ErrNotFound)
	}
	one.update(d, false, m.table.variant.Overload)
	m.scheduler.changed(&m.table, change{kind: edited, dest: one})
	return nil
}

// RemoveService takes the service away, as ipvsadm -D does: its destinations go
// to the trash, its connections and templates stay (ip_vs_ctl.c,
// __ip_vs_del_service).
func (m *Model) RemoveService() {
	for _, d := range m.table.dests {
		m.discard(d)
	}
	m.table.dests, m.scheduler = nil, nil
	m.service.Scheduler = ""
}

// AddService adds the removed service again, without destinations; only its key
// stays.
func (m *Model) AddService(s lb.Service) error {
	if m.scheduler != nil {
		return fmt.Errorf("add service %v: %w", m.service.Key, ErrExists)
	}
	s.Key = m.service.Key
	return m.EditService(s)
}

// Remove takes a destination out of the list; its connections stay, but with
// expire_nodest_conn they go at once (ip_vs_ctl.c, ip_vs_del_dest).
func (m *Model) Remove(k lb.DestKey) error {
	one := m.find(k)
	if one == nil {
		return fmt.Errorf("remove destination %v: %w", k, ErrNotFound)
	}
	i := slices.Index(m.table.dests, one)
	var prev *dest
	if i > 0 {
		prev = m.table.dests[i-1]
	}
	m.table.dests = slices.Delete(m.table.dests, i, i+1)
	m.discard(one)
	m.scheduler.changed(&m.table, change{kind: removed, dest: one, prev: prev})
	return nil
}

// discard moves a destination to the trash. With expire_nodest_conn the kernel
// flushes its connections a tick later (ip_vs_conn.c,
// ip_vs_expire_nodest_conn_flush). Templates may stay or go, which depends on
// the order in which the kernel comes by them; the model lets them stay.
func (m *Model) discard(d *dest) {
	d.available = false
	m.trash = slices.Insert(m.trash, 0, d)
	if !m.table.variant.Settings.ExpireNodestConn {
		return
	}
	for c, e := range m.conns {
		if e.dest == d {
			delete(m.conns, c)
			m.drop(e)
		}
	}
}

// EmptyTrash forgets the removed destinations that nothing refers to, as the
// kernel does 120 to 180 s after the last reference went.
func (m *Model) EmptyTrash() {
	m.trash = slices.DeleteFunc(m.trash, func(d *dest) bool {
		h, ok := m.scheduler.(holder)
		return d.total == 0 && d.persistent == 0 && !(ok && h.holds(d))
	})
}

// Advance moves the clock that lblcr's expiration is measured by.
func (m *Model) Advance(d time.Duration) { m.table.now += d }

// State is a destination as the model holds it.
type State struct {
	Dest       lb.DestKey `json:"dest"`
	Weight     int32      `json:"weight"`
	Active     int        `json:"active"`
	Inactive   int        `json:"inactive"`
	Persistent int        `json:"persistent"`
	Overloaded bool       `json:"overloaded"`
}

// Destinations are the service's, in the order in which the kernel lists them:
// newest first.
func (m *Model) Destinations() []State {
	states := make([]State, len(m.table.dests))
	for i, d := range m.table.dests {
		states[i] = State{d.key, d.weight, d.active, d.total - d.active, d.persistent, d.overloaded}
	}
	return states
}

// Schedulers are the names of all schedulers that have a model, sorted.
func Schedulers() []string {
	var names []string
	for n := range schedulers {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (m *Model) find(k lb.DestKey) *dest {
	i := slices.IndexFunc(m.table.dests, func(d *dest) bool { return d.key == k })
	if i < 0 {
		return nil
	}
	return m.table.dests[i]
}

func check(verb string, d lb.Destination) error {
	switch {
	case d.Weight < 0:
		return fmt.Errorf("%s destination %v: %w", verb, d.DestKey, ErrWeight)
	case d.Lower > d.Upper:
		return fmt.Errorf("%s destination %v: %w", verb, d.DestKey, ErrThreshold)
	}
	return nil
}
