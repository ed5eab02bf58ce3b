package lb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ControllerOptions are the settings of a Controller; the zero value leaves
// foreign services alone.
type ControllerOptions struct {
	Foreign Foreign
	// Owned are services that an earlier Controller of the same owner managed
	// (its Owned): they are deleted once they are no longer desired.
	Owned []Key
}

// Controller makes a table hold what is desired, with the fewest writes, and
// reads every write back. It may be used by several goroutines.
//
// It owns the services that were desired since it was made, and no others. A
// service that is in the table already is adopted when it is desired, so that
// a new Controller goes on where one that was killed left off.
//
// Reconcile looks at the whole table. Update, Apply and SetWeight trust what
// was last read back and read again only the services they change.
type Controller struct {
	table   Table
	foreign Foreign

	mu    sync.Mutex
	owned map[Key]bool
	// known is what was last read back; a service with an uncertain state is missing.
	known map[Key]Service
}

// NewController makes a Controller for a table. The caller closes the table.
func NewController(t Table, o ControllerOptions) *Controller {
	c := &Controller{table: t, foreign: o.Foreign, owned: make(map[Key]bool), known: make(map[Key]Service)}
	for _, k := range o.Owned {
		c.owned[k] = true
	}
	return c
}

// Owned lists the services the Controller manages, sorted, for the
// ControllerOptions of its successor.
func (c *Controller) Owned() []Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sortedKeys(c.owned)
}

// Reconcile reads the table and makes the desired services what it holds, as
// far as the Controller owns it. It is idempotent. On error the Report says
// what was done and what was not.
func (c *Controller) Reconcile(ctx context.Context, desired []Service) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reconcile(ctx, desired)
}

func (c *Controller) reconcile(ctx context.Context, desired []Service) (Report, error) {
	if err := validate(desired); err != nil {
		return Report{}, err
	}
	current, err := c.table.List(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("reconcile: %w", err)
	}
	var r Report
	clear(c.known)
	wanted := keySet(desired)
	for _, s := range current {
		if wanted[s.Key] || c.owned[s.Key] || c.foreign == TakeOver {
			c.known[s.Key] = s.FullSpec()
		} else {
			r.Foreign = append(r.Foreign, s.Key)
		}
	}
	changes := Diff(current, desired, DiffOptions{Foreign: c.foreign, Owned: c.owned})
	// Those that are gone already need no deleting any more.
	for k := range c.owned {
		if _, ok := c.known[k]; !ok {
			delete(c.owned, k)
		}
	}
	for k := range wanted {
		c.owned[k] = true
	}
	err = c.run(ctx, changes, &r)
	return r, err
}

// Update makes the desired services what the table holds, like Reconcile, but
// after the first time reads only the services that change. What others did to
// the table in the meantime goes unnoticed.
func (c *Controller) Update(ctx context.Context, desired []Service) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) == 0 {
		return c.reconcile(ctx, desired)
	}
	if err := validate(desired); err != nil {
		return Report{}, err
	}
	for _, s := range desired {
		c.owned[s.Key] = true
	}
	if err := c.learn(ctx, sortedKeys(c.owned)...); err != nil {
		return Report{}, err
	}
	var current []Service
	for _, k := range sortedKeys(c.owned) {
		if s, ok := c.known[k]; ok {
			current = append(current, s)
		}
	}
	var r Report
	err := c.run(ctx, Diff(current, desired, DiffOptions{Owned: c.owned}), &r)
	return r, err
}

// Apply makes changes to services that the Controller owns, or comes to own by
// adding them, and reads those services back. It is the way for whoever knows
// what to change: health checks, drains. Flush is refused.
func (c *Controller) Apply(ctx context.Context, changes ...Change) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.apply(ctx, changes)
}

// SetWeight changes one destination's weight with a single message. Weight 0
// lets connections go on and gives it no new ones: the beginning of a drain.
func (c *Controller) SetWeight(ctx context.Context, k Key, d DestKey, weight int32) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.learn(ctx, k); err != nil {
		return Report{}, err
	}
	i := slices.IndexFunc(c.known[k].Destinations, func(have Destination) bool { return have.DestKey == d })
	if i < 0 {
		return Report{}, fmt.Errorf("set weight of %s of %s: %w", d, k, ErrNoDestination)
	}
	dest := c.known[k].Destinations[i]
	if dest.Weight == weight {
		return Report{}, nil
	}
	dest.Weight = weight
	return c.apply(ctx, []Change{DestChange(EditDestination, k, dest)})
}

func (c *Controller) apply(ctx context.Context, changes []Change) (Report, error) {
	var errs []error
	for i, ch := range changes {
		switch {
		case ch.Op == Flush:
			errs = append(errs, &ChangeError{Index: i, Change: ch, Err: errors.New("a controller deletes only what it owns")})
		case ch.Op == AddService:
			c.owned[ch.Service.Key] = true
		case !c.owned[ch.Service.Key]:
			errs = append(errs, &ChangeError{Index: i, Change: ch, Err: ErrForeign})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Report{}, err
	}
	var keys []Key
	for _, ch := range changes {
		keys = append(keys, ch.Service.Key)
	}
	if err := c.learn(ctx, keys...); err != nil {
		return Report{}, err
	}
	var r Report
	err := c.run(ctx, changes, &r)
	return r, err
}

// learn reads those of the services that are not known. One that does not
// exist stays unknown and is no error.
func (c *Controller) learn(ctx context.Context, keys ...Key) error {
	for _, k := range keys {
		if _, ok := c.known[k]; ok {
			continue
		}
		s, err := c.table.Get(ctx, k)
		if errors.Is(err, ErrNoService) {
			continue
		}
		if err != nil {
			return err
		}
		c.known[k] = s.FullSpec()
	}
	return nil
}

// validate refuses services that can't be, before anything is touched.
func validate(desired []Service) error {
	var errs []error
	seen := make(map[Key]bool, len(desired))
	for _, s := range desired {
		if seen[s.Key] {
			errs = append(errs, fmt.Errorf("service %s is desired twice", s.Key))
		}
		seen[s.Key] = true
		errs = append(errs, s.Validate())
	}
	return errors.Join(errs...)
}

func keySet(services []Service) map[Key]bool {
	set := make(map[Key]bool, len(services))
	for _, s := range services {
		set[s.Key] = true
	}
	return set
}
