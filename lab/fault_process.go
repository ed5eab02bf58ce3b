package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/internal/poll"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sys/unix"
)

// What the processes of nodes are called in the state.
func commandWhat(command, node string) string { return "command " + command + " of node " + node }

// hasDirector tells whether a node's director is a process.
func (st *state) hasDirector(node string) bool { return st.process(directorWhat(node)) != nil }

// process finds a recorded process; nil if there is none.
func (st *state) process(what string) *process {
	for i := range st.Processes {
		if st.Processes[i].What == what {
			return &st.Processes[i]
		}
	}
	return nil
}

// processFault does a fault whose Process is resolved.
func (b *builder) processFault(ctx context.Context, node *Node, f topology.Fault) error {
	same := func(o topology.Fault) bool { return o.OnProcess() && o.Node == f.Node && o.Process == f.Process }
	if f.Process == topology.ResponderProcess {
		return b.responderFault(ctx, f, same)
	}
	what := commandWhat(f.Process, f.Node)
	if f.Process == topology.DirectorProcess {
		what = directorWhat(f.Node)
	}
	p := b.state.process(what)
	if p == nil {
		return fmt.Errorf("%s was never started; `ipvslab status %s` lists the processes", what, b.plan.Name)
	}
	switch f.Do {
	case topology.FaultKill, topology.FaultStop:
		if err := b.force(f, same); err != nil {
			return err
		}
		return p.end(ctx, f.Do == topology.FaultStop)
	case topology.FaultFreeze:
		if !p.alive() {
			return fmt.Errorf("%s has ended; `ipvslab fault %s restart %s` starts it again", what, f.Node, f.Process)
		}
		if err := b.force(f, same); err != nil {
			return err
		}
		return p.freeze(ctx)
	case topology.FaultResume:
		if err := p.resume(ctx); err != nil {
			return err
		}
		return b.over(func(o topology.Fault) bool { return same(o) && o.Do == topology.FaultFreeze })
	}
	if err := errors.Join(p.end(ctx, true), b.again(ctx, node, f.Process, *p)); err != nil {
		return err
	}
	return b.over(same)
}

// responderFault does a fault to a node's built-in servers. They are sockets of
// the lab's agent: closing them is what the death of a server looks like.
func (b *builder) responderFault(ctx context.Context, f topology.Fault, same func(topology.Fault) bool) error {
	switch f.Do {
	case topology.FaultKill, topology.FaultStop:
		if err := b.force(f, same); err != nil {
			return err
		}
		return b.StopResponder(ctx, f.Node, "", 0)
	case topology.FaultRestart:
		if err := errors.Join(b.StopResponder(ctx, f.Node, "", 0), b.StartResponder(ctx, f.Node, "", 0)); err != nil {
			return err
		}
		return b.over(same)
	}
	return fmt.Errorf("built-in servers can't be frozen one by one, they are all in the lab's agent; "+
		"`ipvslab fault %s loss 100%%` makes the node as silent, `kill` makes it refuse", f.Node)
}

// again starts a process anew, with a log of its own, and waits until it is
// ready. One that can't be started stays recorded as it was, to be tried again.
func (b *builder) again(ctx context.Context, node *Node, name string, old process) error {
	if err := os.Rename(old.Log, old.Log+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put the log aside: %w", err)
	}
	b.state.Processes = slices.DeleteFunc(b.state.Processes, func(p process) bool { return p.What == old.What })
	err := b.startNamed(ctx, node, name)
	if err != nil && b.state.process(old.What) == nil {
		b.state.Processes = append(b.state.Processes, old)
		err = errors.Join(err, b.stateDir.write(b.state))
	}
	return err
}

func (b *builder) startNamed(ctx context.Context, node *Node, name string) error {
	if name == topology.DirectorProcess {
		return b.startDirector(ctx, b.plan.DirectorOf(node.Name()))
	}
	for _, c := range node.plan.Commands {
		if c.Name == name {
			return b.startCommand(ctx, node, c)
		}
	}
	return fmt.Errorf("node %s has no command %q", node.Name(), name)
}

// session lists the process and the others of its session: each of the lab's
// processes leads one (setsid(2)), so these are its children, if they have not
// left it on purpose.
func (p process) session() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		_, session, err := statOf(pid)
		if err != nil || session != p.PID {
			continue // ended meanwhile, or not ours
		}
		if member, err := findProcess(pid, p.What); err == nil {
			found = append(found, member)
		}
	}
	return found, nil
}

// statOf reads a process's state, a letter, and the number of its session
// (fields 3 and 6 of proc_pid_stat(5)).
func statOf(pid int) (state byte, session int, err error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, 0, err
	}
	session, err = strconv.Atoi(string(fields[3]))
	return fields[0][0], session, err
}

// end ends the process and its children: at once, or cleanly if it can in time.
// That it has ended already is fine.
func (p process) end(ctx context.Context, cleanly bool) error {
	if cleanly {
		// The leader alone is told: how its children end is its business. One that
		// is frozen hears of it when it goes on.
		err := errors.Join(p.signal(unix.SIGTERM), p.signal(unix.SIGCONT))
		if err = errors.Join(err, signalAll(ctx, []process{p}, 0, termGrace)); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(killGrace)
	for {
		left, err := p.session()
		if err != nil {
			return err
		}
		left = slices.DeleteFunc(left, func(m process) bool { return !m.alive() })
		if len(left) == 0 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return stillThere(left, false)
		}
		if err := killAll(ctx, left); err != nil {
			return err
		}
	}
}

// killAll kills processes as one. None is to notice that another has died and
// do something about it: keepalived's end cleanly when their parent is gone
// (prctl(2), PR_SET_PDEATHSIG), and it when they are. So all are stopped first.
func killAll(ctx context.Context, procs []process) error {
	for _, p := range procs {
		if err := p.signal(unix.SIGSTOP); err != nil {
			return err
		}
	}
	return signalAll(ctx, procs, unix.SIGKILL, killGrace)
}

// signal sends a signal to the one process, if it is there.
func (p process) signal(sig unix.Signal) error {
	return signalAll(context.Background(), []process{p}, sig, 0)
}

// freeze stops the process and its children, and waits until all are.
func (p process) freeze(ctx context.Context) error {
	return p.awaitState(ctx, unix.SIGSTOP, "frozen", func(state byte) bool { return state == 'T' || state == 't' })
}

// resume lets them go on.
func (p process) resume(ctx context.Context) error {
	return p.awaitState(ctx, unix.SIGCONT, "running", func(state byte) bool { return state != 'T' && state != 't' })
}

// awaitState signals every process of the session until all are in the state.
func (p process) awaitState(ctx context.Context, sig unix.Signal, name string, is func(byte) bool) error {
	ctx, cancel := context.WithTimeout(ctx, killGrace)
	defer cancel()
	pace := poll.Start()
	for {
		members, err := p.session()
		if err != nil {
			return err
		}
		var others []process
		for _, m := range members {
			if state, _, err := statOf(m.PID); err == nil && m.alive() && !is(state) {
				others = append(others, m)
			}
		}
		if len(others) == 0 {
			return nil
		}
		for _, m := range others {
			if err := m.signal(sig); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: process %d is not %s %v after %v", p.What, others[0].PID, name, killGrace, sig)
		case <-pace.Again():
		}
	}
}

// thaw lets what was frozen go on, so that it hears that the lab ends.
func (st *state) thaw() {
	for _, f := range st.Faults {
		if f.Do != topology.FaultFreeze {
			continue
		}
		for _, what := range []string{commandWhat(f.Process, f.Node), directorWhat(f.Node)} {
			if p := st.process(what); p != nil {
				_ = p.resume(context.Background()) // else it is killed soon
			}
		}
	}
}
