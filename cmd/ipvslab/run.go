package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
)

func newRun(a *app) *cobra.Command {
	var name, node string
	c := &cobra.Command{
		Use:   "run FILE [--] CMD [ARG...]",
		Short: "Bring a lab up, run a command, take the lab down; the command's exit status is passed on",
		Long: `Run brings a lab up, runs a command, and takes the lab down whatever becomes of it.

The command runs beside the nodes, with IPVSLAB_LAB set and ipvslab in its
PATH, so that it can say "ipvslab exec NODE -- ..."; with --node it runs in a node.`,
		Example:           "  ipvslab run examples/article.yaml -- make check\n  ipvslab run --node client examples/article.yaml -- curl -s http://192.168.1.117/",
		Args:              withCommand(1),
		ValidArgsFunction: completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := a.openLab(args[0], name)
			if err != nil {
				return err
			}
			argv := dropDashes(args[1:])
			req := launch.Request{Need: launch.Needs(plan, false), NewLab: plan.Name}
			return a.run(c.Context(), req, func(ctx context.Context) (err error) {
				l, err := lab.Up(ctx, plan, lab.Options{Progress: a.progress(), Warn: a.warn})
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, takeDown(ctx, l)) }()
				if node == "" {
					return a.beside(ctx, l, argv)
				}
				n, err := l.Node(node)
				if err != nil {
					return usageError{err}
				}
				return passOn(n.Exec(ctx, lab.ExecSpec{Argv: argv, Stdin: a.in, Stdout: a.out, Stderr: a.err}))
			})
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar(&name, "name", "", "the lab's name, instead of the file's")
	c.Flags().StringVar(&node, "node", "", "run the command in this node")
	return c
}

// takeDown ends a lab also when the command was interrupted.
func takeDown(ctx context.Context, l *lab.Lab) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return l.Down(ctx)
}

// beside runs a command in the namespace that the lab was made from.
func (a *app) beside(ctx context.Context, l *lab.Lab, argv []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Dir(self) + string(os.PathListSeparator) + os.Getenv("PATH")
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	return a.command(ctx, argv, []string{"IPVSLAB_LAB=" + l.Name()})
}

// command runs a program with this process's streams, its exit status passed on.
func (a *app) command(ctx context.Context, argv, env []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Cancel = func() error {
		by := interrupted(syscall.SIGTERM)
		errors.As(context.Cause(ctx), &by)
		return cmd.Process.Signal(syscall.Signal(by))
	}
	cmd.WaitDelay = 2 * time.Second
	return exitOf(cmd.Run())
}

// exitOf turns the end of a command beside the nodes into an exit status.
func exitOf(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return launch.ExitStatus(128 + int(ws.Signal()))
		}
		return launch.ExitStatus(exit.ExitCode())
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		fmt.Fprintln(os.Stderr, "ipvslab: run command:", err)
		return launch.ExitStatus(127)
	}
	fmt.Fprintln(os.Stderr, "ipvslab: run command:", err)
	return launch.ExitStatus(126)
}
