package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

func newExport(a *app) *cobra.Command {
	var format, director string
	var strict bool
	c := &cobra.Command{
		Use:   "export [LAB/]NODE|FILE",
		Short: "Write a director's virtual services as a rules file, for keepalived, or as YAML",
		Long: `Export writes the virtual services of a running director, or of a topology
FILE (an argument with a dot in it), to standard output. What the format can't
hold is told on standard error, a line each.`,
		Example: "  ipvslab export article/master >rules\n  ipvslab export article.yaml --format keepalived",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d := ipvsadm.Dialect(format)
			if !slices.Contains(ipvsadm.Dialects, d) {
				return usageError{fmt.Errorf("export services: unknown format %q, want one of %v", format, ipvsadm.Dialects)}
			}
			if strings.Contains(args[0], ".") { // neither a lab's nor a node's name has one
				plan, err := a.openPlan(args[0], "")
				if err != nil {
					return err
				}
				n, err := pickDirector(plan, director)
				if err != nil {
					return usageError{fmt.Errorf("export %s: %w", args[0], err)}
				}
				return a.writeServices(plannedFor(plan, n), d, exportOptions(plan, n), strict)
			}
			return a.liveTable(c.Context(), args[0], exportArgv(format, strict), func(plan *topology.Plan, n string, s []lb.Service) error {
				return a.writeServices(s, d, exportOptions(plan, n), strict)
			})
		},
	}
	c.Flags().StringVarP(&format, "format", "f", string(ipvsadm.Rules), "ipvsadm, keepalived or yaml")
	c.Flags().StringVar(&director, "node", "", "the director, if those of FILE differ")
	c.Flags().BoolVar(&strict, "strict", false, "write nothing and fail if something would be lost")
	return c
}

func exportArgv(format string, strict bool) func(ref string) []string {
	return func(ref string) []string {
		return []string{"export", ref, "--format", format, fmt.Sprintf("--strict=%t", strict)}
	}
}

// liveTable hands on the table of a running director, and the plan of its lab.
func (a *app) liveTable(ctx context.Context, ref string, argv func(ref string) []string, do func(*topology.Plan, string, []lb.Service) error) error {
	labName, nodeName, err := a.nodeRef(ctx, "", ref)
	if err != nil {
		return err
	}
	req := launch.Request{Lab: labName, MustExist: true, Argv: argv(labName + "/" + nodeName)}
	return a.run(ctx, req, func(ctx context.Context) error {
		l, node, err := openNode(labName, nodeName)
		if err != nil {
			return err
		}
		table, err := node.Table(ctx)
		if err != nil {
			return err
		}
		defer table.Close()
		services, err := table.List(ctx)
		if err != nil {
			return err
		}
		services = slices.DeleteFunc(services, func(s lb.Service) bool { return health.Carries(s.Key) }) // the director's own
		sortAsPlanned(services, plannedFor(l.Plan(), nodeName))
		return do(l.Plan(), nodeName, services)
	})
}

// sortAsPlanned orders services, which the kernel keeps in none, as the plan
// has them, and others behind them.
func sortAsPlanned(services, planned []lb.Service) {
	place := func(s lb.Service) int {
		i := slices.IndexFunc(planned, func(p lb.Service) bool { return p.Key == s.Key })
		if i < 0 {
			return len(planned)
		}
		return i
	}
	slices.SortFunc(services, func(x, y lb.Service) int {
		return cmp.Or(place(x)-place(y), strings.Compare(x.Key.String(), y.Key.String()))
	})
}

// plannedFor are the services that a plan has for a director.
func plannedFor(plan *topology.Plan, director string) (services []lb.Service) {
	for _, s := range plan.Services {
		if slices.Contains(s.Directors, director) {
			services = append(services, s.Spec)
		}
	}
	return services
}

// pickDirector is the director whose services are meant: the one that was
// named, or any if all that carry services carry the same.
func pickDirector(plan *topology.Plan, name string) (string, error) {
	carried := map[string]string{} // the names of what a director carries
	var directors []string
	for _, n := range plan.Nodes {
		if n.Role == topology.Director {
			directors = append(directors, n.Name)
		}
	}
	for _, s := range plan.Services {
		for _, d := range s.Directors {
			carried[d] += s.Name + "\n"
		}
	}
	if name != "" {
		if !slices.Contains(directors, name) {
			return "", fmt.Errorf("no director %q, only %s", name, strings.Join(directors, ", "))
		}
		return name, nil
	}
	picked := ""
	for _, d := range directors {
		switch {
		case carried[d] == "":
		case picked == "":
			picked = d
		case carried[d] != carried[picked]:
			return "", fmt.Errorf("%s and %s carry different services; say which with --node", picked, d)
		}
	}
	if picked == "" && len(directors) > 0 {
		picked = directors[0]
	}
	return picked, nil
}

// exportOptions are a plan's names for what is in a director's table.
func exportOptions(plan *topology.Plan, director string) ipvsadm.ExportOptions {
	nodes := nodeNames(plan)
	first := slices.IndexFunc(plan.Nodes, func(n topology.Node) bool { return n.Role == topology.Director })
	planned := func(k lb.Key) topology.Service {
		for _, s := range plan.Services {
			if s.Spec.Key == k && slices.Contains(s.Directors, director) {
				return s
			}
		}
		return topology.Service{Directors: []string{director}}
	}
	return ipvsadm.ExportOptions{
		Node: func(addr netip.Addr) string { return nodes[addr] },
		Name: func(k lb.Key) string { return planned(k).Name },
		Directors: func(k lb.Key) []string {
			d := slices.Clone(planned(k).Directors) // the plan must not be changed
			if len(d) == 1 && first >= 0 && d[0] == plan.Nodes[first].Name {
				return nil // as it is unless told otherwise
			}
			return d
		},
		Health: func(k lb.Key) *health.Service {
			services := plan.HealthServices(director)
			i := slices.IndexFunc(services, func(s health.Service) bool { return s.Spec.Key == k })
			if i < 0 {
				return nil
			}
			return &services[i]
		},
		Marks: func(k lb.Key) (marks []ipvsadm.Mark) {
			for _, m := range planned(k).Marks {
				marks = append(marks, ipvsadm.Mark(m))
			}
			return marks
		},
	}
}

// nodeNames are the nodes by their own addresses.
func nodeNames(plan *topology.Plan) map[netip.Addr]string {
	names := map[netip.Addr]string{}
	for _, n := range plan.Nodes {
		for _, i := range n.Interfaces {
			for _, addr := range i.Addresses {
				if !addr.VIP {
					names[addr.Prefix.Addr()] = n.Name
				}
			}
		}
	}
	return names
}

// writeServices writes the services, and tells what is lost.
func (a *app) writeServices(services []lb.Service, d ipvsadm.Dialect, opt ipvsadm.ExportOptions, strict bool) error {
	var out bytes.Buffer
	lost, err := ipvsadm.Export(&out, services, d, opt)
	if err != nil {
		return err
	}
	for _, l := range lost {
		fmt.Fprintln(a.err, "ipvslab: lost:", l)
	}
	if strict && len(lost) > 0 {
		return fmt.Errorf("export services: %d losses, so nothing was written (--strict)", len(lost))
	}
	if _, err := out.WriteTo(a.out); err != nil {
		return fmt.Errorf("export services: %w", err)
	}
	return nil
}
