package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ipvslab/ipvslab/internal/poll"
	"github.com/ipvslab/ipvslab/topology"
)

// startCommands starts the user's commands in the plan's order, each when the
// one before is ready.
func (b *builder) startCommands(ctx context.Context) error {
	for _, node := range b.Nodes() {
		for _, c := range node.plan.Commands {
			if err := b.startCommand(ctx, node, c); err != nil {
				return fmt.Errorf("command %s of node %s: %w", c.Name, node.Name(), err)
			}
		}
	}
	return nil
}

func (b *builder) startCommand(ctx context.Context, node *Node, c topology.Command) error {
	spec := ExecSpec{Argv: c.Argv, Dir: c.Dir}
	for key, value := range c.Env {
		spec.Env = append(spec.Env, key+"="+value)
	}
	slices.Sort(spec.Env)
	ready := &readiness{Ready: c.Ready, node: node, log: commandLog(b.dir, node.Name()+"."+c.Name)}
	return b.launch(ctx, node, spec, commandWhat(c.Name, node.Name()), ready)
}

// launch starts a process that stays as long as the lab is up, records it, and
// returns when it is ready.
func (b *builder) launch(ctx context.Context, node *Node, spec ExecSpec, what string, ready *readiness) error {
	log, err := os.OpenFile(ready.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	spec.Stdout, spec.Stderr = log, log
	// It outlives this call, and what ctx does.
	cmd, problem, err := node.start(context.WithoutCancel(ctx), spec, &syscall.SysProcAttr{Setsid: true}) // out of Ctrl-C's reach
	if err != nil {
		return err
	}
	if problem == "" {
		err = b.record(cmd.Process.Pid, what, ready.log) // even one that has ended is there until it is waited for
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	switch {
	case problem != "":
		return fmt.Errorf("%w: %s", ErrStart, problem)
	case err != nil:
		return err
	}
	return ready.await(ctx, ended)
}

// readiness is the condition under which a command counts as started.
type readiness struct {
	topology.Ready
	node *Node
	log  string
	look func(context.Context) error // the condition, where it is not one of the plan's
}

// How long a command has to get ready if the plan doesn't say, and how long one
// look may take.
const (
	readyWithin = 30 * time.Second
	readyProbe  = time.Second
)

// await returns when the condition holds. It fails when the deadline passes, or
// when the command ends before (or at all, unless that is the condition).
func (r *readiness) await(ctx context.Context, ended <-chan error) error {
	within := r.Within
	if within <= 0 {
		within = readyWithin
	}
	probe, err := r.probe()
	if err != nil {
		return err
	}
	over := time.Now().Add(within)
	deadline, cancel := context.WithDeadline(ctx, over)
	defer cancel()
	pace := poll.Start()
	var why error
	for {
		// A look that the deadline cut short says nothing.
		if now := probe(deadline); now == nil || why == nil || time.Now().Before(over) {
			why = now
		}
		select {
		case err := <-ended:
			return r.onEnd(err)
		default:
		}
		if why == nil {
			return nil
		}
		select {
		case err := <-ended:
			return r.onEnd(err)
		case <-deadline.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("not ready within %v: %w; the end of its log:\n%s", within, why, logTail(r.log))
		case <-pace.Again():
		}
	}
}

// onEnd judges a command that has ended while it was waited for.
func (r *readiness) onEnd(err error) error {
	if r.Exit && err == nil {
		return nil
	}
	how := "status 0"
	if err != nil {
		how = err.Error()
	}
	return fmt.Errorf("it ended (%s) instead of getting ready; the end of its log:\n%s", how, logTail(r.log))
}

// probe chooses the condition: nil when it holds, else what is missing.
func (r *readiness) probe() (func(context.Context) error, error) {
	switch {
	case r.look != nil:
		return r.look, nil
	case r.TCP != "":
		host, port, err := net.SplitHostPort(r.TCP)
		if err != nil {
			return nil, fmt.Errorf("readiness: %w", err)
		}
		addr := net.JoinHostPort(r.node.resolve(host), port)
		return func(ctx context.Context) error {
			conn, err := r.dial(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		}, nil
	case r.HTTP != "":
		return r.get, nil
	case r.File != "":
		return func(context.Context) error { _, err := os.Stat(r.File); return err }, nil
	case r.Log != "":
		re, err := regexp.Compile(r.Log)
		if err != nil {
			return nil, fmt.Errorf("readiness: %w", err)
		}
		return func(context.Context) error { return r.logMatches(re) }, nil
	case r.Exit:
		return func(context.Context) error { return errors.New("it has not ended") }, nil
	}
	return func(context.Context) error { return nil }, nil
}

// dial connects from inside the node. The address holds no name, so that the
// socket is made on this goroutine.
func (r *readiness) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = r.node.Do(func() error {
		conn, err = (&net.Dialer{Timeout: readyProbe}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

func (r *readiness) get(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyProbe)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.HTTP, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return r.dial(ctx, network, net.JoinHostPort(r.node.resolve(host), port))
	}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 || resp.StatusCode < 200 {
		err = fmt.Errorf("%s answers %s", r.HTTP, resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

func (r *readiness) logMatches(re *regexp.Regexp) error {
	data, err := os.ReadFile(r.log)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(data) {
		if re.Match(bytes.TrimRight(line, "\r\n")) {
			return nil
		}
	}
	return fmt.Errorf("no line of its output matches %q", re)
}

// logTail is the end of a log, for an error message.
func logTail(path string) string {
	const lines = 10
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}
