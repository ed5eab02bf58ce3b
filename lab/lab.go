// Package lab turns a topology.Plan into a running lab and back: network
// namespaces for the nodes, bridges in a namespace of the lab's own for the
// segments, addresses, routes, kernel settings, virtual services, responders
// and the user's commands.
//
// Invariants:
//   - Nothing appears in, changes in, or leaves through the namespace that the
//     caller is in: no link, no route, no kernel setting.
//   - What is going to be made is on disk before the kernel is changed, so that
//     [Down] can end a lab by name whatever became of the process that made it.
//   - A lab that can't be completed is undone before [Up] returns.
//   - One process at a time works on a lab of a given name (flock(2)).
//
// A program that uses the package calls [Hook] first thing in main (in TestMain
// for tests): commands in nodes and the agent are started through it.
//
// The package must not import internal/guest, assertions or scenarios.
package lab

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/topology"
)

// What callers branch on.
var (
	ErrExists   = errors.New("lab exists")
	ErrNotExist = errors.New("no such lab")
	ErrNoNode   = errors.New("no such node")
	// ErrInside refuses to end a lab from within: it would end its caller.
	ErrInside = errors.New("this process is inside the lab")
)

// AgentMode says which process holds the sockets of the built-in responders.
type AgentMode int

const (
	// InProcess is the calling process: the responders end with it. For Go tests.
	InProcess AgentMode = iota
	// Detached is a process of its own that lives as long as the lab does.
	Detached
)

// Options change how a lab is brought up. The zero value suits a Go test.
type Options struct {
	Agent AgentMode
	// NoServices leaves the directors' tables empty. The kernel then need not
	// have IPVS, and its settings (net.ipv4.vs.*) are passed over if it hasn't.
	NoServices bool
	// Progress is told what is being done, in a few words; it may be nil. It is
	// called from one goroutine.
	Progress func(step string)
	// Warn is told what did not stop the lab and may surprise, a sentence each
	// time; it may be nil. It is called from one goroutine.
	Warn func(text string)
}

// undoTimeout bounds the undoing of a half-made lab, which goes on after the
// caller's context has ended.
const undoTimeout = 30 * time.Second

// Lab is a running lab. Its methods may be called from any goroutine.
type Lab struct {
	plan  *topology.Plan
	dir   string
	agent *agent // not nil if it is in this process
}

// Up makes a lab. On failure, also when ctx ends, everything made so far is
// undone and nothing is left. It fails with ErrExists if a lab of that name is
// up; one that was left half made by a process that died is undone first.
func Up(ctx context.Context, plan *topology.Plan, opts Options) (*Lab, error) {
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	if err := checkNames(plan); err != nil {
		return nil, err
	}
	dir, err := openDir(ctx, plan.Name, true)
	if err != nil {
		return nil, fmt.Errorf("bring up lab %s: %w", plan.Name, err)
	}
	defer dir.close()
	l, err := up(ctx, dir, plan, opts)
	if err != nil {
		return nil, fmt.Errorf("bring up lab %s: %w", plan.Name, err)
	}
	return l, nil
}

func up(ctx context.Context, dir *stateDir, plan *topology.Plan, opts Options) (*Lab, error) {
	if err := clearWay(ctx, dir, opts); err != nil {
		return nil, err
	}
	st := newState(plan)
	if err := noForeign(st.Namespaces); err != nil {
		return nil, errors.Join(err, dir.remove())
	}
	if err := dir.begin(st); err != nil {
		return nil, errors.Join(err, dir.remove())
	}
	l := &Lab{plan: plan, dir: dir.path}
	b := &builder{Lab: l, state: st, stateDir: dir, opts: opts}
	err := b.build(ctx)
	if err == nil {
		st.Phase = phaseUp
		err = dir.write(st)
	}
	if err == nil {
		return l, nil
	}
	opts.Progress("undoing the half-made lab")
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return nil, errors.Join(err, l.end(undo, dir, st))
}

// end undoes all that a state records, and then forgets the state.
func (l *Lab) end(ctx context.Context, dir *stateDir, st *state) error {
	if err := l.tearDown(ctx, dir, st); err != nil {
		return err
	}
	return dir.remove()
}

// clearWay makes sure that there is no lab of that name, undoing one whose
// maker died half way.
func clearWay(ctx context.Context, dir *stateDir, opts Options) error {
	old, err := dir.read()
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; `ipvslab down %s` clears it", err, dir.name)
	}
	if old.Phase == phaseUp && old.alive() {
		return fmt.Errorf("%w: it has been up since %s; end it with `ipvslab down %s`, or give the new one another name",
			ErrExists, old.Created.Format(time.RFC3339), dir.name)
	}
	opts.Progress("undoing what an earlier process left half made")
	l := &Lab{plan: old.Plan, dir: dir.path}
	if err := l.tearDown(ctx, dir, old); err != nil {
		return fmt.Errorf("undo the half-made lab: %w", err)
	}
	return dir.clear()
}

// noForeign refuses to take over namespaces of the same name that no lab has recorded.
func noForeign(names []string) error {
	present, err := netns.List()
	if err != nil {
		return err
	}
	for _, name := range present {
		if slices.Contains(names, name) {
			return fmt.Errorf("network namespace %s exists, and no lab's record mentions it; "+
				"if nobody needs it, remove it with `ip netns del %s`", netns.Path(name), name)
		}
	}
	return nil
}

// Load finds a lab that is up by its name.
func Load(name string) (*Lab, error) {
	st, path, err := readState(name)
	if err != nil {
		return nil, fmt.Errorf("load lab %s: %w", name, err)
	}
	if st.Phase != phaseUp || !st.alive() {
		return nil, fmt.Errorf("load lab %s: %w: only remains of one that was not completed or not ended; clear them with `ipvslab down %s`",
			name, ErrNotExist, name)
	}
	return &Lab{plan: st.Plan, dir: path}, nil
}

// Down ends the lab; see the function Down.
func (l *Lab) Down(ctx context.Context) error {
	_, err := down(ctx, l.plan.Name, l)
	return err
}

// Down ends a lab by name from its record alone: its commands and agent, every
// process that is in one of its namespaces, and the namespaces. A process that
// has only some of its threads there, such as a test of the lab, is ended ten
// seconds later, if it has not left by itself. Down goes on past failures and
// joins them; it fails if anything is left, and may then be called again. Found
// is false, and err nil, if there was nothing of that name.
func Down(ctx context.Context, name string) (found bool, err error) {
	return down(ctx, name, &Lab{})
}

func down(ctx context.Context, name string, l *Lab) (bool, error) {
	dir, err := openDir(ctx, name, false)
	if errors.Is(err, ErrNotExist) {
		l.agent.close()
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("end lab %s: %w", name, err)
	}
	defer dir.close()
	st, err := dir.read()
	if errors.Is(err, ErrNotExist) {
		// Killed before anything was recorded, so before anything was made.
		l.agent.close()
		return false, dir.remove()
	}
	if err != nil {
		// Unreadable: what carries the lab's name is the lab.
		if st, err = guessState(name); err != nil {
			return true, fmt.Errorf("end lab %s: %w", name, err)
		}
	}
	if err := l.end(ctx, dir, st); err != nil {
		return true, fmt.Errorf("end lab %s: %w", name, err)
	}
	return true, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.plan.Name }

// Plan is what the lab was made from. It must not be changed.
func (l *Lab) Plan() *topology.Plan { return l.plan }

// Dir is the lab's directory, for whatever is to end with it.
func (l *Lab) Dir() string { return l.dir }

// Nodes lists the nodes in the plan's order.
func (l *Lab) Nodes() []*Node {
	nodes := make([]*Node, len(l.plan.Nodes))
	for i := range l.plan.Nodes {
		nodes[i] = &Node{lab: l, plan: &l.plan.Nodes[i]}
	}
	return nodes
}

// Node finds a node by name; ErrNoNode lists the names there are.
func (l *Lab) Node(name string) (*Node, error) {
	for i := range l.plan.Nodes {
		if l.plan.Nodes[i].Name == name {
			return &Node{lab: l, plan: &l.plan.Nodes[i]}, nil
		}
	}
	return nil, fmt.Errorf("%w: lab %s has no node %q, only %s", ErrNoNode, l.plan.Name, name, nodeNames(l.plan))
}

// nameForm is what labs, nodes and networks may be called. It keeps names from
// being paths, and namespaces of two labs from having the same name.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

func checkNames(plan *topology.Plan) error {
	if !nameForm.MatchString(plan.Name) {
		return fmt.Errorf("lab name %q: letters, digits, _ and - only, the first a letter or digit", plan.Name)
	}
	seen := map[string]bool{}
	for _, n := range plan.Nodes {
		if !nameForm.MatchString(n.Name) || seen[n.Name] {
			return fmt.Errorf("node name %q of lab %s: letters, digits, _ and - only, and each name once", n.Name, plan.Name)
		}
		seen[n.Name] = true
	}
	return nil
}
