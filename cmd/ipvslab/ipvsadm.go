package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
)

// programs are the names under which this binary is ipvsadm, in the PATH of
// every shell and exec of a lab.
var programs = map[string]func(context.Context, ipvsadm.Env, []string) int{
	"ipvsadm":         ipvsadm.Run,
	"ipvsadm-save":    ipvsadm.RunSave,
	"ipvsadm-restore": ipvsadm.RunRestore,
}

func newIpvsadm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:                "ipvsadm [LAB/]NODE [ARG...]",
		Short:              "Act as ipvsadm 1.31 in a node; in a lab's shells plain ipvsadm does",
		Example:            "  ipvslab ipvsadm master -Ln\n  ipvslab ipvsadm article/master -A -t 192.168.1.117:8080 -s rr",
		DisableFlagParsing: true, // they are ipvsadm's
		Args:               cobra.MinimumNArgs(1),
		ValidArgsFunction:  a.completeNodes(new(string)),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == "--help" || args[0] == "-h" {
				return c.Help()
			}
			labName, nodeName, err := a.nodeRef(c.Context(), "", args[0])
			if err != nil {
				return err
			}
			argv := append([]string{"ipvsadm", labName + "/" + nodeName}, args[1:]...)
			req := launch.Request{Lab: labName, MustExist: true, Argv: argv}
			return a.run(c.Context(), req, func(ctx context.Context) error {
				_, node, err := openNode(labName, nodeName)
				if err != nil {
					return err
				}
				var status int
				err = node.Do(func() error {
					status = a.ipvsadm(ctx, "ipvsadm", args[1:])
					return nil
				})
				return passOn(status, err)
			})
		},
	}
}

// heapWithoutGC is what a program may use before garbage is collected: more
// than the listing of a few thousand services takes. Collecting would take as
// long as the listing itself.
const heapWithoutGC = 64 << 20

// ipvsadm is one of the programs, in the calling thread's namespace.
func (a *app) ipvsadm(ctx context.Context, program string, args []string) int {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(heapWithoutGC)
	var table lb.Table
	var list func(context.Context) ([]lb.Conn, error)
	t, err := ipvs.Open(ctx, "")
	if err == nil {
		defer t.Close()
		table, list = t, t.Conns
	} else {
		table = unreachable{err: err}
	}
	f, terminal := a.err.(*os.File)
	return programs[program](ctx, ipvsadm.Env{
		Table: table, Conns: list, Stdin: a.in, Stdout: a.out, Stderr: a.err,
		Hints: terminal && term.IsTerminal(int(f.Fd())),
	}, append([]string{program}, args...))
}

// unreachable is the table of a kernel without IPVS; ipvsadm explains it.
type unreachable struct {
	lb.Table // never called: ipvsadm ends when Info fails
	err      error
}

func (u unreachable) Info(context.Context) (lb.Info, error) { return lb.Info{}, u.err }
