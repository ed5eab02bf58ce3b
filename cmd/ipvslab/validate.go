package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/topology"
)

func newValidate(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "validate FILE...",
		Short:             "Check topology files: every mistake and every surprise, with its place",
		SuggestFor:        []string{"check", "lint"},
		Long:              "Validate tells every mistake in topology files, and every surprise, with its place;\n- is standard input. The exit status is 0 if there are at most warnings, else 2.",
		Example:           "  ipvslab validate examples/*.yaml\n  generate-lab | ipvslab validate -",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			all := topology.Problems{}
			bad := 0
			for _, path := range args {
				plan, problems, err := topology.Open(path, "")
				if err != nil {
					bad++
				}
				if err != nil && !isProblems(err) {
					problems = topology.Problems{{Severity: topology.Error, Pos: topology.Pos{File: path}, Message: err.Error()}}
				}
				all = append(all, problems...)
				if !asJSON {
					a.reportFile(path, plan, problems)
				}
			}
			if asJSON {
				if err := a.printJSON(all); err != nil {
					return err
				}
			}
			if bad > 0 {
				return launch.ExitStatus(exitUsage)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the problems as JSON")
	return c
}

func (a *app) reportFile(path string, plan *topology.Plan, problems topology.Problems) {
	for _, p := range problems {
		fmt.Fprintln(a.err, p)
	}
	if plan != nil {
		fmt.Fprintf(a.out, "%s: lab %s: %s, %s, %s\n", path, plan.Name,
			count(len(plan.Nodes), "node"), count(len(plan.Services), "service"), count(len(plan.Scenarios), "scenario"))
	}
}

// count is a number of things, in words that agree with it.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprint(n, " ", thing)
}

func newPlan(a *app) *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use:               "plan FILE",
		Short:             "Show what a file becomes, with every default and where it comes from",
		SuggestFor:        []string{"render", "describe", "explain", "graph"},
		Example:           "  ipvslab plan examples/minimal.yaml\n  ipvslab plan --json examples/minimal.yaml | jq '.nodes[].routes'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			plan, err := a.openPlan(args[0], name)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(plan)
			}
			return errors.Join(topology.Describe(a.out, plan))
		},
	}
	c.Flags().StringVar(&name, "name", "", "the lab's name, instead of the file's")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
