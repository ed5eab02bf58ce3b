package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// startAgent starts the responders where the options want them. A lab without
// responders has an agent too: it tells so.
func (b *builder) startAgent(ctx context.Context) error {
	if b.opts.Agent == InProcess {
		a, err := newAgent(ctx, b.plan, b.dir)
		b.agent = a
		return err
	}
	if !hooked {
		return fmt.Errorf("start the agent: %w", errNotHooked)
	}
	log, err := os.OpenFile(commandLog(b.dir, "agent"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{agentName, b.plan.Name}
	cmd.Env = append(os.Environ(), "IPVSLAB_LAB="+b.plan.Name)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of Ctrl-C's reach
	// Born in the segments' namespace: there tearDown finds it, recorded or not.
	err = b.segments.Start(cmd)
	w.Close()
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	return b.awaitAgent(ctx, cmd, r, log.Name())
}

// awaitAgent records the agent and waits for its word: "" when it serves.
func (b *builder) awaitAgent(ctx context.Context, cmd *exec.Cmd, r *os.File, log string) error {
	err := b.record(cmd.Process.Pid, agentWhat, log)
	go func() { _ = cmd.Wait() }() // for as long as this process lives; nobody else reaps it
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	word, err := io.ReadAll(r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for the agent: %w", err)
	}
	if string(word) != agentReady {
		return fmt.Errorf("start responders: %s", orElse(string(word), "the agent died; its log is "+logTail(log)))
	}
	return nil
}

// record adds a process to the state, in place of one of the same name.
func (b *builder) record(pid int, what, log string) error {
	p, err := findProcess(pid, what)
	if err != nil {
		return err
	}
	p.Log = log
	b.state.Processes = slices.DeleteFunc(b.state.Processes, func(old process) bool { return old.What == what })
	b.state.Processes = append(b.state.Processes, p)
	return b.stateDir.write(b.state)
}

// agentWhat is what the agent is called in the state.
const agentWhat = "agent"

// agentReady is the agent's word for "everything listens".
const agentReady = "ready"

// runAgent is the agent's main; it ends with SIGTERM.
func runAgent() {
	word := os.NewFile(reportFD, "report")
	unix.CloseOnExec(reportFD)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	// Whoever started it reads one word or the other, or is gone.
	say := func(s string) { _, _ = word.WriteString(s) }
	err := serveAgent(ctx, os.Args[1], func() { say(agentReady); word.Close() })
	stop()
	if err != nil {
		say(err.Error())
		fmt.Fprintln(os.Stderr, "ipvslab agent:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveAgent(ctx context.Context, name string, ready func()) error {
	st, dir, err := readState(name)
	if err != nil {
		return err
	}
	a, err := newAgent(ctx, st.Plan, dir)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	defer a.close()
	ready()
	<-ctx.Done()
	return nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
