package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

func newReload(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reload LAB|FILE",
		Short: "Have the directors of a lab that is up do what its file says now",
		Long: `Reload reads the topology file of a lab again, or another one, and tells the
directors what has changed: services, their real servers, weights, checks and
quorum, rules and configuration files. Connections go on. Whatever can't be told
to a running director makes it start anew; what is not about directors (networks,
nodes, their addresses, routes and servers) is refused, and nothing is done.

An embedded director keeps what it knows of real servers; keepalived gets
SIGHUP and reads its configuration again, as does a program of your own that
catches it (another one is restarted); a table made by rules is changed as far
as they differ.`,
		Example:           "  ipvslab reload article\n  ipvslab reload examples/keepalived.yaml",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeLabs,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := a.labArg(c.Context(), args[0])
			if err != nil {
				return err
			}
			argv := []string{"reload", name}
			file := ""
			if strings.ContainsAny(args[0], "./") {
				if file, err = filepath.Abs(args[0]); err != nil {
					return fmt.Errorf("find %s: %w", args[0], err)
				}
				argv[1] = file
			}
			req := launch.Request{Lab: name, MustExist: true, Argv: argv}
			return a.run(c.Context(), req, func(ctx context.Context) error { return a.reload(ctx, name, file) })
		},
	}
}

func (a *app) reload(ctx context.Context, name, file string) error {
	l, err := lab.Load(name)
	if err != nil {
		return err
	}
	if file == "" {
		file = l.Plan().Source
	}
	plan, problems, err := topology.Open(file, name)
	for _, p := range problems {
		fmt.Fprintln(a.err, p)
	}
	if isProblems(err) {
		return launch.ExitStatus(exitUsage)
	}
	if err != nil {
		return usageError{err}
	}
	plan.Source = file
	_, done, err := l.Reload(ctx, plan, lab.Options{Warn: a.warn})
	for _, d := range done {
		fmt.Fprintf(a.out, "director %s (%s): %s\n", d.Node, d.Kind, d.How)
	}
	return err
}
