package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
)

func newStatus(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "status [LAB]",
		Short:             "Show the labs that are up, here and in guests, or one of them in full",
		SuggestFor:        []string{"inspect", "list", "ls", "ps", "get", "show"},
		Example:           "  ipvslab status\n  ipvslab status article\n  ipvslab status article --json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeLabs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.statusAll(c.Context(), asJSON)
			}
			name, err := a.labArg(c.Context(), args[0])
			if err != nil {
				return err
			}
			req := launch.Request{Lab: name, MustExist: true, Argv: []string{"status", name}}
			if asJSON {
				req.Argv = append(req.Argv, "--json")
			}
			return a.run(c.Context(), req, func(context.Context) error {
				s, err := lab.ReadStatus(name)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(s)
				}
				a.printStatus(s)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) statusAll(ctx context.Context, asJSON bool) error {
	// What could not be read is told beside what could.
	labs, err := a.launcher().Labs(ctx)
	if asJSON {
		return errors.Join(a.printJSON(labs), err)
	}
	if len(labs) == 0 {
		fmt.Fprintln(a.out, "no labs are up")
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "LAB\tSTATE\tNODES\tSERVICES\tAGE\tKERNEL\tFILE")
	for _, l := range labs {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", l.Name, l.Phase, len(l.Nodes), len(l.Services),
			age(l.Created), l.Kernel, l.Source)
	}
	return errors.Join(err, w.Flush())
}

func age(t time.Time) string { return time.Since(t).Round(time.Second).String() }

func (a *app) printStatus(s *lab.Status) {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "lab\t%s (%s, %s)\n", s.Name, s.Phase, age(s.Created))
	if s.Source != "" {
		fmt.Fprintf(w, "file\t%s\n", s.Source)
	}
	fmt.Fprintln(w, "\nNODE\tROLE\tNAMESPACE\tADDRESSES\tVIPS")
	for _, n := range s.Nodes {
		ns := n.Namespace
		if !n.Present {
			ns += " (gone)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, ns, joinAddrs(n.Addresses), cmp.Or(joinAddrs(n.VIPs), "-"))
	}
	if len(s.Services) > 0 {
		fmt.Fprintln(w, "\nSERVICE\tKEY\tSCHEDULER\tDIRECTORS\tREAL SERVERS")
	}
	for _, v := range s.Services {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.Name, v.Key, v.Scheduler, strings.Join(v.Directors, " "), strings.Join(v.RealServers, " "))
	}
	if len(s.Failover) > 0 {
		fmt.Fprintln(w, "\nFAILOVER\tADDRESSES\tDIRECTORS\tACTIVE")
	}
	for _, g := range s.Failover {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", g.Name, joinAddrs(g.Addresses), strings.Join(g.Directors, " "), active(g))
	}
	if len(s.Directors) > 0 {
		fmt.Fprintln(w, "\nDIRECTOR\tKIND\tSTATE\tPID\tLOG")
	}
	of := map[int]bool{} // processes of directors
	for _, d := range s.Directors {
		pid := "-"
		if d.PID != 0 {
			pid, of[d.PID] = strconv.Itoa(d.PID), true
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.Node, d.Kind, d.State, pid, d.Log)
	}
	processes := slices.DeleteFunc(slices.Clone(s.Processes), func(p lab.ProcessStatus) bool { return of[p.PID] })
	if len(processes) > 0 {
		fmt.Fprintln(w, "\nPROCESS\tPID\tSTATE\tLOG")
	}
	for _, p := range processes {
		state := "runs"
		if !p.Alive {
			state = "has ended"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.What, p.PID, state, p.Log)
	}
	if len(s.Faults) > 0 {
		fmt.Fprintf(w, "\nFAULT IN FORCE (`ipvslab fault NODE heal` ends it)\n")
	}
	for _, f := range s.Faults {
		fmt.Fprintln(w, f)
	}
	w.Flush()
}

// active says who has a failover group's addresses.
func active(g lab.GroupStatus) string {
	switch {
	case g.Error != "":
		return "unknown: " + g.Error
	case len(g.Holders) == 0:
		return "none"
	case len(g.Holders) > 1:
		return strings.Join(g.Holders, " and ") + " at once"
	}
	return g.Holders[0]
}

func joinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}
