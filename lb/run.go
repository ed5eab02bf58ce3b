package lb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// run makes changes and verifies them: additions and edits first, then the
// deletions, of which those are withheld whose service did not get all it was
// to get, so that it is not left without a destination. The Controller's
// memory follows what was done.
func (c *Controller) run(ctx context.Context, changes []Change, r *Report) error {
	first, second := partition(changes)
	touched := make(map[Key]bool)
	failed := c.write(ctx, first, touched, r)
	second = slices.DeleteFunc(second, func(ch Change) bool {
		withhold := ch.Op == DeleteDestination && failed[ch.Service.Key]
		if withhold {
			r.Withheld = append(r.Withheld, ch)
		}
		return withhold
	})
	c.write(ctx, second, touched, r)
	return r.outcome(c.verify(ctx, touched))
}

// partition splits off the deletions, keeping the order within each part.
func partition(changes []Change) (first, deletions []Change) {
	first = make([]Change, 0, len(changes))
	for _, ch := range changes {
		if ch.Op.deletes() {
			deletions = append(deletions, ch)
		} else {
			first = append(first, ch)
		}
	}
	return first, deletions
}

// write makes changes and notes which services they touched; it returns the
// services of which one failed.
func (c *Controller) write(ctx context.Context, changes []Change, touched map[Key]bool, r *Report) (failed map[Key]bool) {
	if len(changes) == 0 {
		return nil
	}
	err := c.table.Apply(ctx, changes...)
	failures := make(map[int]*ChangeError)
	for _, e := range ChangeErrors(err) {
		failures[e.Index] = e
	}
	r.Done = slices.Grow(r.Done, len(changes))
	failed, uncertain := make(map[Key]bool), make(map[Key]bool)
	for i, ch := range changes {
		k := ch.Service.Key
		e := failures[i]
		if err != nil && len(failures) == 0 { // nothing was done at all
			e = &ChangeError{Index: i, Change: ch, Err: err}
		}
		if e != nil {
			r.Failed = append(r.Failed, e)
			failed[k] = true
			uncertain[k] = uncertain[k] || errors.Is(e, ErrUnknown)
			continue
		}
		r.Done = append(r.Done, ch)
		touched[k] = true
		c.remember(ch)
	}
	for k := range uncertain { // nothing to compare with: the next call reads it again
		delete(touched, k)
		delete(c.known, k)
	}
	return failed
}

// remember makes a change in memory.
func (c *Controller) remember(ch Change) {
	k := ch.Service.Key
	if ch.Op == DeleteService {
		delete(c.known, k)
		return
	}
	s := c.known[k]
	s.make(ch)
	c.known[k] = s
}

// make makes a change to the service itself or to one of its destinations.
func (s *Service) make(ch Change) {
	d := ch.Destination.Spec()
	same := func(have Destination) bool { return have.DestKey == d.DestKey }
	switch ch.Op {
	case AddService, EditService:
		list := s.Destinations
		*s = ch.Service.Spec()
		s.Destinations = list
	case AddDestination:
		s.Destinations = append(s.Destinations, d)
	case EditDestination:
		if i := slices.IndexFunc(s.Destinations, same); i >= 0 {
			s.Destinations[i] = d
		}
	case DeleteDestination:
		s.Destinations = slices.DeleteFunc(s.Destinations, same)
	}
}

// verify reads the touched services back and compares them with the memory. It
// reads the whole table only if most of it was touched.
func (c *Controller) verify(ctx context.Context, touched map[Key]bool) []error {
	var errs []error
	read := c.table.Get
	if len(touched) > 8 && len(touched) > len(c.known)/2 {
		all, err := c.table.List(ctx)
		if err != nil {
			return []error{fmt.Errorf("read back: %w", err)}
		}
		found := make(map[Key]Service, len(all))
		for _, s := range all {
			found[s.Key] = s
		}
		read = func(_ context.Context, k Key) (Service, error) {
			if s, ok := found[k]; ok {
				return s, nil
			}
			return Service{}, ErrNoService
		}
	}
	for _, k := range sortedKeys(touched) {
		got, err := read(ctx, k)
		if err != nil && !errors.Is(err, ErrNoService) {
			errs = append(errs, fmt.Errorf("read back: %w", err))
			delete(c.known, k)
			continue
		}
		want, wanted := c.known[k]
		if e := compare(k, want, got, wanted, err == nil); e != nil {
			errs = append(errs, e)
			delete(c.known, k)
		} else if !wanted {
			delete(c.owned, k)
		}
	}
	return errs
}

// VerifyError says that a service is not what it was made to be. It is an ErrNotAsWritten.
type VerifyError struct {
	Key         Key
	Want, Found *Service // nil: it is not to be, or not there
}

func (e *VerifyError) Error() string {
	switch {
	case e.Found == nil:
		return fmt.Sprintf("service %s: %v: it is not there", e.Key, ErrNotAsWritten)
	case e.Want == nil:
		return fmt.Sprintf("service %s: %v: it is still there", e.Key, ErrNotAsWritten)
	}
	lacking := Diff([]Service{*e.Found}, []Service{*e.Want}, DiffOptions{})
	if len(lacking) == 0 {
		return fmt.Sprintf("service %s: %v: the destinations are in another order", e.Key, ErrNotAsWritten)
	}
	return fmt.Sprintf("service %s: %v: lacks %q and %d more; did something else write to the table?", e.Key, ErrNotAsWritten, lacking[0], len(lacking)-1)
}

// Unwrap makes it an ErrNotAsWritten.
func (e *VerifyError) Unwrap() error { return ErrNotAsWritten }

func compare(k Key, want, found Service, wanted, there bool) error {
	e := &VerifyError{Key: k}
	if wanted {
		e.Want = &want
	}
	if there {
		found = found.FullSpec()
		e.Found = &found
	}
	if wanted != there {
		return e
	}
	if wanted && (!sameSpec(want, found) || !slices.Equal(want.Destinations, found.Destinations)) {
		return e
	}
	return nil
}

func sortedKeys(set map[Key]bool) []Key {
	return slices.SortedFunc(maps.Keys(set), Key.Compare)
}

// Compare orders keys: by mark, address, port, protocol and family.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.FWMark, o.FWMark), k.Addr.Compare(o.Addr), cmp.Compare(k.Port, o.Port),
		cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.Family, o.Family))
}
