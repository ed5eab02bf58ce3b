package ipvsadm

import (
	"cmp"
	"errors"
	"slices"
	"syscall"

	"github.com/ipvslab/ipvslab/lb"
)

// ordered is a map that remembers the order of adding.
type ordered[K comparable, V any] struct {
	items map[K]item[V]
	added int
}

type item[V any] struct {
	value V
	at    int
}

func (o *ordered[K, V]) has(k K) bool { _, ok := o.items[k]; return ok }
func (o *ordered[K, V]) remove(k K)   { delete(o.items, k) }

// set adds a value, or changes one in its place.
func (o *ordered[K, V]) set(k K, v V) {
	if o.items == nil {
		o.items = map[K]item[V]{}
	}
	at := o.added
	if old, ok := o.items[k]; ok {
		at = old.at
	} else {
		o.added++
	}
	o.items[k] = item[V]{v, at}
}

func (o *ordered[K, V]) values() []V {
	var all []item[V]
	for _, i := range o.items {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b item[V]) int { return cmp.Compare(a.at, b.at) })
	var out []V
	for _, i := range all {
		out = append(out, i.value)
	}
	return out
}

// model is a table in which only what a rules file can get wrong is told apart.
type model struct {
	services ordered[lb.Key, *modelService]
}

type modelService struct {
	spec  lb.Service // without destinations
	dests ordered[lb.DestKey, lb.Destination]
}

func newModel(start []lb.Service) *model {
	m := &model{}
	for _, s := range start {
		ms := &modelService{spec: s}
		for _, d := range s.Destinations {
			ms.dests.set(d.DestKey, d)
		}
		m.services.set(s.Key, ms)
	}
	return m
}

// list is the table as [lb.Table.List] would give it, in the order of adding.
func (m *model) list() []lb.Service {
	var out []lb.Service
	for _, ms := range m.services.values() {
		s := ms.spec
		s.Destinations = ms.dests.values()
		out = append(out, s)
	}
	return out
}

var errOnlyWrites = errors.New("does not change the table; a rules file holds -A, -E, -D, -a, -e, -d, -C, -Z, --set and the sync daemon's commands")

func (m *model) line(words []string, names Names) error {
	cmd, err := Parse(append([]string{"ipvsadm"}, words...), names)
	if err != nil {
		return err
	}
	if change, ok := cmd.Change(); ok {
		if err := m.change(change); err != nil {
			return &tableError{cmd.Verb, err}
		}
		return nil
	}
	switch cmd.Verb {
	case Zero, SetTimeouts, StartDaemon, StopDaemon:
		return nil
	}
	return errOnlyWrites
}

// tableError is a table's error in the original's words.
type tableError struct {
	verb Verb
	err  error
}

func (e *tableError) Error() string { return messageFor(e.verb, e.err) }
func (e *tableError) Unwrap() error { return e.err }

func (m *model) change(c lb.Change) error {
	k := c.Service.Key
	switch {
	case c.Op == lb.Flush:
		*m = model{}
		return nil
	case c.Op == lb.AddService && m.services.has(k):
		return lb.ErrServiceExists
	case c.Op == lb.AddService:
		m.services.set(k, &modelService{spec: c.Service})
		return nil
	case !m.services.has(k):
		return lb.ErrNoService
	}
	s := m.services.items[k].value
	switch c.Op {
	case lb.EditService:
		s.spec = c.Service
	case lb.DeleteService:
		m.services.remove(k)
	default:
		return s.change(c.Op, c.Destination)
	}
	return nil
}

func (s *modelService) change(op lb.Op, d lb.Destination) error {
	found := s.dests.has(d.DestKey)
	switch {
	case op == lb.AddDestination && found:
		return lb.ErrDestinationExists
	case op != lb.AddDestination && !found:
		return lb.ErrNoDestination
	case op == lb.DeleteDestination:
		s.dests.remove(d.DestKey)
	case d.Lower > d.Upper:
		return syscall.ERANGE
	default:
		s.dests.set(d.DestKey, d)
	}
	return nil
}
