package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/guest/choose"
	"github.com/ipvslab/ipvslab/internal/launch"
)

// app is what all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	kernel   string // --kernel
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "ipvslab",
		Short: "Labs for LVS/IPVS: build them, play in them, prove what they do",
		Long: `ipvslab brings up clients, directors and real servers as network namespaces,
with the real kernel's IPVS between them. Where this machine's kernel or this
user cannot do that, the same command runs in a guest kernel, without root.`,
		Example: `  ipvslab up examples/article.yaml
  ipvslab exec client -- curl -s http://192.168.1.117/
  ipvslab test article
  ipvslab down article`,
		Version:           buildInfo().String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	// No template of cobra's is set, for --version or anything else: text/template calls methods by
	// name, so the linker would have to keep all there are, which is 5 MB for every process to map.
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	root.PersistentFlags().StringVar(&a.kernel, "kernel", os.Getenv(choose.Env),
		"where to run: auto, host, uml, qemu, or the path of a kernel (also $"+choose.Env+")")
	root.AddCommand(
		newUp(a), newDown(a), newStatus(a), newExec(a), newShell(a), newRun(a),
		newValidate(a), newPlan(a), newTest(a), newTutorial(a), newIpvsadm(a), newImport(a), newExport(a), newPredict(a), newReplay(a), newTraffic(a), newHandover(a), newFault(a), newReload(a), newEvents(a), newKernel(a), newVersion(a),
	)
	a.completeFlags(root)
	fixUsage(root)
	return root
}

// fixUsage makes wrong arguments usage errors, with the usage line. A command
// that is only the parent of others shows them.
func fixUsage(c *cobra.Command) {
	if !c.Runnable() && c.HasSubCommands() {
		c.Args, c.RunE = unknownCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
	} else if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w\nusage: %s", err, c.UseLine())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		fixUsage(sub)
	}
}

// launcher decides where commands run, as the flags say.
func (a *app) launcher() *launch.Launcher {
	return &launch.Launcher{
		Selection: a.kernel,
		In:        a.in, Out: a.out, Err: a.err,
	}
}

// run runs native in a kernel that meets the request: this one, or a guest's,
// where the same command line gets here again.
func (a *app) run(ctx context.Context, r launch.Request, native func(context.Context) error) error {
	return a.launcher().Run(ctx, r, native)
}

// unknownCommand refuses an argument where there should be a command.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	near := ""
	names := otherTools(c, args[0])
	if len(names) == 0 {
		names = c.SuggestionsFor(args[0])
	}
	if len(names) > 0 {
		near = "did you mean " + strings.Join(names, " or ") + "? "
	}
	return usageError{fmt.Errorf("unknown command %q; %ssee `%s --help`", args[0], near, c.CommandPath())}
}

// otherTools are the commands that do what other tools call by that word.
func otherTools(c *cobra.Command, word string) (names []string) {
	for _, sub := range c.Commands() {
		if slices.Contains(sub.SuggestFor, word) {
			names = append(names, sub.Name())
		}
	}
	return names
}
