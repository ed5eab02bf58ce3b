package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/internal/probe"
)

func newKernel(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "kernel",
		Short: "Which kernel commands run in, and why; get one; run anything in it",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newKernelStatus(a), newKernelFetch(a), newKernelExec(a))
	return c
}

func newKernelStatus(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "status",
		Short:   "Explain the choice: what this kernel can do, which guests could run, which one is taken",
		Example: "  ipvslab kernel status\n  ipvslab kernel status --kernel qemu",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.launcher().KernelStatus(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(s)
			}
			s.Print(a.out)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newKernelFetch(a *app) *cobra.Command {
	var ifNeeded bool
	c := &cobra.Command{
		Use:   "fetch",
		Short: "Fetch a guest kernel's packages into the cache, without root",
		Long: `Fetch gets a guest kernel's packages, without root, from the distribution's mirrors, checked by
its package manager, into ~/.cache/ipvslab (or $XDG_CACHE_HOME/ipvslab). Other
commands do so by themselves when they need one. A machine without network takes
a copy of that directory from one of the same architecture.`,
		Example: "  ipvslab kernel fetch\n  ipvslab kernel fetch --kernel qemu",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.launcher().Fetch(c.Context(), ifNeeded)
		},
	}
	c.Flags().BoolVar(&ifNeeded, "if-needed", false, "only if commands on this machine need a guest and none can run")
	return c
}

func newKernelExec(a *app) *cobra.Command {
	var writable []string
	c := &cobra.Command{
		Use:   "exec [--] CMD [ARG...]",
		Short: "Run anything, as root, in a kernel that has IPVS; its exit status is passed on",
		Long: `Exec runs a command in a kernel that can do what a lab needs: this one, or a
guest that sees this machine's files, may write the working directory, and goes
away with the command. So anybody's Go tests run as root, with IPVS, as nobody:

    go test -exec "ipvslab kernel exec --" ./...`,
		Example: "  ipvslab kernel exec -- uname -a\n  ipvslab kernel exec -- sh -c 'ip link add lb0 type dummy && ip link'",
		Args:    withCommand(0),
		RunE: func(c *cobra.Command, args []string) error {
			argv := dropDashes(args)
			req := launch.Request{
				Need: append(slices.Clone(launch.Basics), probe.IPVS),
				Argv: argv, Program: true,
				Writable: append(writable, outputDirs(argv)...),
			}
			return a.run(c.Context(), req, func(ctx context.Context) error { return a.program(ctx, argv) })
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringArrayVar(&writable, "writable", nil, "a further directory that the command may write")
	return c
}

// outputDirs are the directories into which the go command has a test binary
// write profiles: a flag of `go test -exec` names them, nobody else does.
func outputDirs(argv []string) []string {
	var dirs []string
	for _, arg := range argv[1:] {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok || !filepath.IsAbs(value) {
			continue
		}
		switch name {
		case "test.coverprofile", "test.cpuprofile", "test.memprofile", "test.blockprofile", "test.mutexprofile", "test.trace", "test.testlogfile":
			dirs = append(dirs, filepath.Dir(value))
		case "test.gocoverdir", "test.outputdir":
			dirs = append(dirs, value)
		}
	}
	return dirs
}

// program runs a command in this kernel.
func (a *app) program(ctx context.Context, argv []string) error {
	return a.command(ctx, argv, nil)
}
