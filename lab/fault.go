package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ipvslab/ipvslab/topology"
)

// Fault makes something go wrong, or right again, and reads back that it has.
// What it does is recorded beforehand, shown by Status, and undone by
// [Lab.Heal] and at the end of the lab. A fault that is in force already is no
// error. The fault returned says what was left open: which process.
func (l *Lab) Fault(ctx context.Context, f topology.Fault) (topology.Fault, error) {
	err := l.withState(ctx, func(b *builder) error {
		done, err := b.fault(ctx, f)
		f = done
		return err
	})
	if err != nil {
		return f, fmt.Errorf("lab %s: %s: %w", l.plan.Name, f, err)
	}
	return f, nil
}

// Faults lists what is in force, in the order in which it was done.
func (l *Lab) Faults() ([]topology.Fault, error) {
	st, _, err := readState(l.plan.Name)
	if err != nil {
		return nil, fmt.Errorf("faults of lab %s: %w", l.plan.Name, err)
	}
	return st.Faults, nil
}

// Heal undoes every fault that is in force and returns these. It goes on past
// failures and joins them; what could not be undone stays recorded.
func (l *Lab) Heal(ctx context.Context) (healed []topology.Fault, err error) {
	return l.HealSince(ctx, nil)
}

// HealSince is Heal for all faults but those that were in force before.
func (l *Lab) HealSince(ctx context.Context, before []topology.Fault) (healed []topology.Fault, err error) {
	err = l.withState(ctx, func(b *builder) error {
		healed = without(b.state.Faults, before)
		return b.heal(ctx, func(f topology.Fault) bool { return len(without([]topology.Fault{f}, before)) > 0 })
	})
	if err != nil {
		return nil, fmt.Errorf("heal lab %s: %w", l.plan.Name, err)
	}
	return healed, nil
}

// withState works on the lab's record while nobody else does.
func (l *Lab) withState(ctx context.Context, fn func(*builder) error) error {
	dir, err := openDir(ctx, l.plan.Name, false)
	if err != nil {
		return err
	}
	defer dir.close()
	st, err := dir.read()
	if err != nil {
		return err
	}
	if st.Phase != phaseUp || !st.alive() {
		return fmt.Errorf("%w: it is not up", ErrNotExist)
	}
	return fn(&builder{Lab: l, state: st, stateDir: dir})
}

// fault does one fault and returns it with nothing left open.
func (b *builder) fault(ctx context.Context, f topology.Fault) (topology.Fault, error) {
	if err := f.Check(); err != nil {
		return f, err
	}
	node, err := b.Node(f.Node)
	if err != nil {
		return f, err
	}
	for _, other := range f.With {
		if _, err := b.Node(other); err != nil {
			return f, err
		}
	}
	f.At = 0 // it is now
	switch {
	case f.Do == topology.FaultHeal:
		return f, b.heal(ctx, func(o topology.Fault) bool { return o.Node == f.Node || slices.Contains(o.With, f.Node) })
	case f.OnProcess():
		f.Process, err = node.plan.ProcessOf(f, b.state.hasDirector(f.Node))
		if err != nil {
			return f, err
		}
		return f, b.processFault(ctx, node, f)
	}
	return f, b.lineFault(ctx, f)
}

// heal undoes those of the faults in force that are chosen.
func (b *builder) heal(ctx context.Context, chosen func(topology.Fault) bool) error {
	var errs []error
	var lines []topology.Fault
	for _, f := range slices.Clone(b.state.Faults) {
		if !chosen(f) {
			continue
		}
		if f.OnLine() {
			lines = append(lines, f)
			continue
		}
		undo := f
		undo.Do = topology.FaultRestart
		if f.Do == topology.FaultFreeze {
			undo.Do = topology.FaultResume
		}
		if _, err := b.fault(ctx, undo); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", undo, err))
		}
	}
	if len(lines) > 0 {
		rest := slices.DeleteFunc(slices.Clone(b.state.Faults), func(f topology.Fault) bool { return f.OnLine() && chosen(f) })
		errs = append(errs, b.setLines(ctx, rest))
	}
	return errors.Join(errs...)
}

// force records that a fault is in force in place of those that it replaces.
func (b *builder) force(f topology.Fault, replaces func(topology.Fault) bool) error {
	b.state.Faults = append(slices.DeleteFunc(slices.Clone(b.state.Faults), replaces), f)
	return b.stateDir.write(b.state)
}

// over records that faults are in force no longer.
func (b *builder) over(which func(topology.Fault) bool) error {
	b.state.Faults = slices.DeleteFunc(slices.Clone(b.state.Faults), which)
	return b.stateDir.write(b.state)
}
