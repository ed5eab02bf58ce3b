package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sys/unix"
)

// Node is one node of a running lab.
type Node struct {
	lab  *Lab
	plan *topology.Node
}

// Name is the node's name.
func (n *Node) Name() string { return n.plan.Name }

// Plan is what the node was made from. It must not be changed.
func (n *Node) Plan() *topology.Node { return n.plan }

// Namespace is the name of the node's network namespace, as `ip netns` lists it.
func (n *Node) Namespace() string { return nsName(n.lab.plan.Name, n.plan.Name) }

// Do runs fn in the node's network namespace; fn must stay on its goroutine.
// It can be passed on as a function that enters the node.
func (n *Node) Do(fn func() error) error { return netns.Do(n.Namespace(), fn) }

// ExecSpec is a command to run in a node.
type ExecSpec struct {
	Argv []string
	Dir  string   // empty: the caller's
	path string   // of the program; empty: found by Argv[0]
	Env  []string // added to the caller's environment, and to IPVSLAB_LAB and IPVSLAB_NODE
	// The streams; nil is /dev/null. An *os.File, a terminal too, is handed on as it is.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// ErrStart is a command that could not be started at all.
var ErrStart = errors.New("can't start the command")

// Exec runs a command in the node and returns its exit status; that of one
// ended by a signal is 128 and the signal's number, as in a shell. Status 127
// goes with an ErrStart for a program not found, 126 for one that can't be run.
//
// The command sees the node's network and its own /sys, and instead of
// /etc/hosts and /etc/resolv.conf the lab's, over which /etc/netns/NAMESPACE/* is laid as by `ip
// netns exec` (ip-netns(8)). When ctx ends it gets SIGTERM and soon SIGKILL.
func (n *Node) Exec(ctx context.Context, spec ExecSpec) (int, error) {
	if len(spec.Argv) == 0 {
		return statusNotFound, fmt.Errorf("exec in node %s: %w: no command given", n.Name(), ErrStart)
	}
	cmd, problem, err := n.start(ctx, spec, nil)
	if err != nil {
		return statusCantRun, fmt.Errorf("exec in node %s: %w: %w", n.Name(), ErrStart, err)
	}
	err = cmd.Wait()
	status := exitStatus(cmd.ProcessState)
	if problem != "" {
		return status, fmt.Errorf("exec in node %s: %w: %s", n.Name(), ErrStart, problem)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		if ctx.Err() != nil {
			return status, ctx.Err()
		}
		return status, fmt.Errorf("exec in node %s: %w", n.Name(), err)
	}
	return status, ctx.Err()
}

// start starts a command and returns when it has taken the stage's place, or
// when that has failed, with the reason; the process is to be waited for either way.
func (n *Node) start(ctx context.Context, spec ExecSpec, attr *syscall.SysProcAttr) (cmd *exec.Cmd, problem string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	cmd = n.command(ctx, spec, w)
	cmd.SysProcAttr = attr
	// Born in the node's namespace: there tearDown finds it, recorded or not.
	err = n.Do(cmd.Start)
	w.Close()
	if err != nil {
		return nil, "", err
	}
	// The pipe closes when the stage becomes the command.
	text, _ := io.ReadAll(r)
	return cmd, string(text), nil
}

// Command is a command in the node that has not been started, for callers that
// want to do so themselves. If it can't be run, the reason is on its standard
// error and its status is 126 or 127.
func (n *Node) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return n.command(ctx, ExecSpec{Argv: argv}, nil)
}

// killDelay is how long a command has between SIGTERM and SIGKILL.
const killDelay = 2 * time.Second

// command prepares the stage that becomes the command; see stage.go. The
// reason for a failure goes to problem, or to standard error if that is nil.
func (n *Node) command(ctx context.Context, spec ExecSpec, problem *os.File) *exec.Cmd {
	s := stageSpec{
		Node: n.Name(), Namespace: n.Namespace(), Hosts: hostsFile(n.lab.dir),
		Dir: spec.Dir, Path: spec.path, Argv: spec.Argv, Report: problem != nil,
	}
	arg, err := json.Marshal(s)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	if err != nil {
		cmd.Err = fmt.Errorf("encode command: %w", err)
	}
	if !hooked {
		cmd.Err = errNotHooked
	}
	cmd.Args = []string{stageName, string(arg)}
	cmd.Env = append(os.Environ(), "IPVSLAB_LAB="+n.lab.plan.Name, "IPVSLAB_NODE="+n.Name())
	cmd.Env = append(cmd.Env, spec.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = spec.Stdin, spec.Stdout, spec.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = killDelay
	if problem != nil {
		cmd.ExtraFiles = []*os.File{problem}
	}
	return cmd
}

func exitStatus(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// resolve looks up a name as the nodes' hosts file does.
func (n *Node) resolve(host string) string {
	switch {
	case host == "" || host == "localhost":
		return "127.0.0.1"
	case strings.ContainsAny(host, ".:"):
		return host
	}
	for i := range n.lab.plan.Nodes {
		if node := &n.lab.plan.Nodes[i]; node.Name == host {
			if addrs := nodeAddrs(node); len(addrs) > 0 {
				return addrs[0].String()
			}
		}
	}
	return host
}
