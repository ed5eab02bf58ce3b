package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/poll"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// How long processes have to end after SIGTERM, and after SIGKILL.
const (
	termGrace = 2 * time.Second
	killGrace = 5 * time.Second
)

// leaveGrace is how long a visitor may stay, who does not know that the lab
// ends and may be slow on a busy machine. A test changes it.
var leaveGrace = 10 * time.Second

// tearDown removes from the kernel all that the state records. It goes on past
// failures, joins them, and fails if anything is left. It may be repeated.
func (l *Lab) tearDown(ctx context.Context, dir *stateDir, st *state) error {
	if st.Boot != bootID() {
		return nil // another kernel's; nothing of it can be here
	}
	spaces, release, err := present(st.Namespaces)
	defer release()
	errs := []error{err}
	if err := notInside(spaces); err != nil {
		return err
	}
	if st.Phase != phaseEnding {
		st.Phase = phaseEnding
		// A full disk must not keep a lab alive.
		_ = dir.write(st)
	}
	st.thaw()
	l.agent.close()
	quitAgent(ctx, st, dir.path)
	errs = append(errs, endProcesses(ctx, st.Processes, residents(spaces)))
	errs = append(errs, deleteNamespaces(st.Namespaces))
	// Nobody finds a way in any more. Whoever was about to enter is in now;
	// visitors, perhaps a command that tests the lab, are given time to leave.
	awaitLeave(ctx, spaces)
	errs = append(errs, endProcesses(ctx, nil, everyone(spaces)))
	errs = append(errs, leftovers(st))
	return errors.Join(errs...)
}

// present finds which of the namespaces there are. Until they are released they
// stay, also without name and process: the kernel would give their numbers to
// the next namespace that anybody makes, and whoever is in it would be taken
// for an inhabitant of the lab (fs/proc/generic.c, proc_alloc_inum).
func present(names []string) (spaces map[netns.ID]string, release func(), err error) {
	spaces = map[netns.ID]string{}
	var held []*netns.NS
	var errs []error
	for _, name := range names {
		ns, err := netns.Open(name)
		if errors.Is(err, netns.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		spaces[ns.ID()] = name
		held = append(held, ns)
	}
	release = func() {
		for _, ns := range held {
			ns.Close() // opened for reading, nothing to lose
		}
	}
	return spaces, release, errors.Join(errs...)
}

// notInside refuses to kill whoever asks: a command that runs in the lab, or a
// function that was called by Node.Do.
func notInside(spaces map[netns.ID]string) error {
	own, err := netns.Current()
	if err != nil {
		return fmt.Errorf("open this process's network namespace: %w", err)
	}
	defer own.Close()
	if name, in := spaces[own.ID()]; in {
		return fmt.Errorf("%w, in network namespace %s; leave it first", ErrInside, name)
	}
	return nil
}

// search finds processes that have to end. Self tells whether this process
// would be one of them; it is not in the list.
type search func() (procs []process, self bool, err error)

// residents searches for those who can do nothing without the lab.
func residents(spaces map[netns.ID]string) search {
	return func() ([]process, bool, error) {
		found, err := findInhabitants(spaces)
		return found.residents, false, err
	}
}

// everyone searches for visitors, too.
func everyone(spaces map[netns.ID]string) search {
	return func() ([]process, bool, error) {
		found, err := findInhabitants(spaces)
		return slices.Concat(found.residents, found.visitors), found.self, err
	}
}

// awaitLeave waits until no process visits the namespaces any more, as long as
// one has to end by itself.
func awaitLeave(ctx context.Context, spaces map[netns.ID]string) {
	ctx, cancel := context.WithTimeout(ctx, leaveGrace)
	defer cancel()
	pace := poll.Start()
	for {
		found, err := findInhabitants(spaces)
		if err != nil || len(found.visitors) == 0 {
			return // who comes after tells of the error
		}
		select {
		case <-ctx.Done():
			return
		case <-pace.Again():
		}
	}
}

// endProcesses ends the recorded processes and those that are found.
func endProcesses(ctx context.Context, recorded []process, find search) error {
	found, self, err := find()
	if err != nil {
		return err
	}
	all := slices.Concat(recorded, found)
	if len(all) == 0 && !self {
		return nil
	}
	var errs []error
	errs = append(errs, signalAll(ctx, all, unix.SIGTERM, termGrace))
	deadline := time.Now().Add(killGrace)
	pace := poll.Start()
	for ; ; <-pace.Again() {
		found, self, err = find()
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		left := slices.DeleteFunc(slices.Concat(recorded, found), func(p process) bool { return !p.alive() })
		if len(left) == 0 && !self {
			return errors.Join(errs...)
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(append(errs, stillThere(left, self))...)
		}
		errs = append(errs, signalAll(ctx, left, unix.SIGKILL, killGrace))
	}
}

func stillThere(left []process, self bool) error {
	var names []string
	for _, p := range left {
		names = append(names, fmt.Sprintf("%d (%s)", p.PID, p.What))
	}
	if self {
		names = append(names, "this very process, in another goroutine")
	}
	return fmt.Errorf("processes did not end: %s", strings.Join(names, ", "))
}

// deleteNamespaces removes the names, several at a time.
func deleteNamespaces(names []string) error {
	var group errgroup.Group
	group.SetLimit(2 * runtime.NumCPU())
	errs := make([]error, len(names))
	for i, name := range names {
		group.Go(func() error {
			if err := netns.Delete(name); !errors.Is(err, netns.ErrNotExist) {
				errs[i] = err
			}
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}

// leftovers checks that nothing is left of what the state records.
func leftovers(st *state) error {
	names, err := netns.List()
	if err != nil {
		return err
	}
	var left []string
	for _, name := range names {
		if slices.Contains(st.Namespaces, name) {
			left = append(left, "network namespace "+name)
		}
	}
	for _, p := range st.Processes {
		if p.alive() {
			left = append(left, fmt.Sprintf("process %d (%s)", p.PID, p.What))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	return nil
}
