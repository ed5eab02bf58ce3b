package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
)

// nodeRef finds which lab and node NODE or LAB/NODE means.
func (a *app) nodeRef(ctx context.Context, labName, ref string) (string, string, error) {
	if l, n, ok := strings.Cut(ref, "/"); ok && labName == "" {
		return l, n, nil
	}
	if labName == "" {
		labName = os.Getenv("IPVSLAB_LAB") // of `run`, and of commands in nodes
	}
	if labName != "" {
		name, err := a.labArg(ctx, labName)
		return name, ref, err
	}
	names, err := a.launcher().LabNames(ctx)
	switch {
	case err != nil:
		return "", "", err
	case len(names) == 0:
		return "", "", fmt.Errorf("no lab is up; `ipvslab up FILE` brings one up")
	case len(names) > 1:
		return "", "", usageError{fmt.Errorf("several labs are up: %s; say LAB/%s", strings.Join(names, ", "), ref)}
	}
	return names[0], ref, nil
}

// openNode opens a lab that is in this kernel, and one of its nodes.
func openNode(labName, nodeName string) (*lab.Lab, *lab.Node, error) {
	l, err := lab.Load(labName)
	if err != nil {
		return nil, nil, err
	}
	node, err := l.Node(nodeName)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return l, node, nil
}

func newExec(a *app) *cobra.Command {
	var labName string
	c := &cobra.Command{
		Use:               "exec [LAB/]NODE [--] CMD [ARG...]",
		Short:             "Run a command in a node; its exit status is passed on",
		Example:           "  ipvslab exec client -- curl http://192.168.1.117/\n  ipvslab exec article/master -- ip route",
		Args:              withCommand(1),
		ValidArgsFunction: a.completeNodes(&labName),
		RunE: func(c *cobra.Command, args []string) error {
			return a.inNode(c.Context(), labName, args[0], dropDashes(args[1:]))
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVarP(&labName, "lab", "l", "", "the lab, if several are up")
	return c
}

// dropDashes removes the "--" that stays when flags must come first.
func dropDashes(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

// withCommand wants n arguments and a command after them.
func withCommand(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n || len(dropDashes(args[n:])) == 0 {
			return errors.New("no command given")
		}
		return nil
	}
}

func newShell(a *app) *cobra.Command {
	var labName string
	c := &cobra.Command{
		Use:               "shell [LAB/]NODE",
		Short:             "Open a shell in a node",
		SuggestFor:        []string{"ssh", "attach", "sh", "bash"},
		Example:           "  ipvslab shell client\n  ipvslab shell article/master",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes(&labName),
		RunE: func(c *cobra.Command, args []string) error {
			return a.inNode(c.Context(), labName, args[0], nil)
		},
	}
	c.Flags().StringVarP(&labName, "lab", "l", "", "the lab, if several are up")
	return c
}

// inNode runs a command in a node, or a shell if there is none.
func (a *app) inNode(ctx context.Context, labName, ref string, argv []string) error {
	labName, nodeName, err := a.nodeRef(ctx, labName, ref)
	if err != nil {
		return err
	}
	verb := []string{"exec", "--lab", labName, nodeName, "--"}
	if argv == nil {
		verb = []string{"shell", "--lab", labName, nodeName}
	}
	req := launch.Request{Lab: labName, MustExist: true, Argv: append(verb, argv...)}
	return a.run(ctx, req, func(ctx context.Context) error {
		l, node, err := openNode(labName, nodeName)
		if err != nil {
			return err
		}
		bin, err := l.ProgramDir()
		if err != nil {
			return err
		}
		spec := lab.ExecSpec{
			Argv: argv, Env: []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")},
			Stdin: a.in, Stdout: a.out, Stderr: a.err,
		}
		if argv == nil {
			if spec.Argv, err = shellArgv(l, nodeName); err != nil {
				return err
			}
		}
		return passOn(node.Exec(ctx, spec))
	})
}

// passOn makes a command's exit status this process's.
func passOn(status int, err error) error {
	switch {
	case errors.Is(err, lab.ErrStart):
		fmt.Fprintln(os.Stderr, "ipvslab:", err)
		return launch.ExitStatus(status)
	case err != nil:
		return err
	case status != 0:
		return launch.ExitStatus(status)
	}
	return nil
}

// shellArgv is the user's shell; bash gets a prompt that names the node.
func shellArgv(l *lab.Lab, node string) ([]string, error) {
	shell := os.Getenv("SHELL")
	if _, err := exec.LookPath(shell); err != nil {
		if shell, err = exec.LookPath("bash"); err != nil {
			shell = "/bin/sh"
		}
	}
	if filepath.Base(shell) != "bash" {
		return []string{shell}, nil
	}
	rc := filepath.Join(l.Dir(), "bashrc")
	text := fmt.Sprintf("[ -r ~/.bashrc ] && . ~/.bashrc\nPS1='[%s@%s \\W]# '\n", "$IPVSLAB_NODE", l.Name())
	if err := os.WriteFile(rc, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("open shell in %s: %w", node, err)
	}
	return []string{shell, "--rcfile", rc}, nil
}
