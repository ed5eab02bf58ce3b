package main

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/scenarios"
	"github.com/ipvslab/ipvslab/topology"
)

func newTest(a *app) *cobra.Command {
	o := scenarios.Options{}
	c := &cobra.Command{
		Use:   "test FILE|LAB...",
		Short: "Prove that labs do what they are configured to do",
		Long: `Test brings each lab up, puts it to the test, and takes it down. A lab that is
up already is tested as it is, and left as it was; its services are set up
afresh between specs, which ends the connections through them.

Every lab must show that links, settings, responders and tables are as planned,
that each service's connections go where its scheduler's model says, with three
witnesses that agree, that packets are forwarded as they must be at every hop,
that connection entries come and go, and that checked real servers which stop
answering leave the table and come back; then come the file's own scenarios,
and nothing may have changed meanwhile. "As planned" is meant both ways: a route,
a policy rule or a queueing discipline that no file asks for is a failure, and
packet filters and faults in force are noted. The exit status is 0 only if all
of it was seen.`,
		Example: "  ipvslab test examples/article.yaml\n  ipvslab test --focus 'web: held' --keep examples/dr.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.test(c.Context(), args, o)
		},
	}
	c.SuggestFor = []string{"verify", "prove"}
	f := c.Flags()
	f.StringArrayVar(&o.Focus, "focus", nil, "run only specs whose name, after the lab's, matches this regular expression (repeatable)")
	f.StringVar(&o.JUnitReport, "junit-report", "", "write a JUnit report to this file")
	f.BoolVar(&o.JSON, "json", false, "print the verdicts as JSON")
	f.BoolVar(&o.Keep, "keep", false, "leave labs up that were brought up")
	f.StringVar(&o.Artifacts, "artifacts", "ipvslab-artifacts", "directory for the evidence of failures")
	f.BoolVarP(&o.Verbose, "verbose", "v", false, "tell each step")
	return c
}

func (a *app) test(ctx context.Context, args []string, o scenarios.Options) error {
	if err := scenarios.CheckFocus(o.Focus); err != nil {
		return usageError{err}
	}
	req, plans, err := a.testRequest(ctx, args)
	if err != nil {
		return err
	}
	req.Background = o.Keep
	req.Writable, err = writable(o)
	if err != nil {
		return err
	}
	o.Out, o.Color, o.Warn = a.out, a.colour(), a.warn
	if o.Keep {
		o.Agent = lab.Detached
	}
	if err := forgetReport(o.JUnitReport); err != nil {
		return err
	}
	err = a.run(ctx, req, func(ctx context.Context) error {
		targets, err := testTargets(args, plans)
		if err != nil {
			return err
		}
		passed, err := scenarios.Run(ctx, targets, o)
		if err == nil && !passed {
			return launch.ExitStatus(exitFailed)
		}
		return err
	})
	return cmp.Or(err, checkReport(o.JUnitReport))
}

// forgetReport removes an old report: CI must not take it for the new one.
func forgetReport(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old JUnit report: %w", err)
	}
	return nil
}

// checkReport makes sure that the report is here, and not in the guest only,
// and whole: the disk may have been full.
func checkReport(path string) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("write JUnit report: %w; a guest can write the working directory and most others, but not all of /tmp", err)
	}
	if err := xml.Unmarshal(data, new(struct{})); err != nil {
		return fmt.Errorf("write JUnit report: %s is not whole (%w); is there room on its disk?", path, err)
	}
	return nil
}

// testRequest says what the labs need of a kernel. Plans are nil where the
// argument is a lab's name.
func (a *app) testRequest(ctx context.Context, args []string) (launch.Request, []*topology.Plan, error) {
	var req launch.Request
	if len(args) == 1 && isLabName(args[0]) {
		req.Lab, req.MustExist = args[0], true
		return req, []*topology.Plan{nil}, nil
	}
	var plans []*topology.Plan
	for _, arg := range args {
		if isLabName(arg) {
			return req, nil, usageError{fmt.Errorf("test %s: a lab that is up can only be tested alone", arg)}
		}
		plan, err := a.openKept(arg, "")
		if err != nil {
			return req, nil, err
		}
		if slices.ContainsFunc(plans, func(p *topology.Plan) bool { return p.Name == plan.Name }) {
			return req, nil, usageError{fmt.Errorf("test %s: there is another lab called %s on the command line", arg, plan.Name)}
		}
		plans = append(plans, plan)
		for _, need := range launch.Needs(plan, false) {
			if !slices.Contains(req.Need, need) {
				req.Need = append(req.Need, need)
			}
		}
	}
	req.NewLab, req.Join = plans[0].Name, true
	return req, plans, a.mayTestTogether(ctx, plans)
}

// mayTestTogether refuses several labs one of which is up, perhaps in another kernel.
func (a *app) mayTestTogether(ctx context.Context, plans []*topology.Plan) error {
	if len(plans) == 1 {
		return nil
	}
	up, err := a.launcher().LabNames(ctx)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if slices.Contains(up, p.Name) {
			return fmt.Errorf("test %s: it is up already, and so can only be tested alone", p.Name)
		}
	}
	return nil
}

// isLabName tells a lab's name from a file's.
func isLabName(arg string) bool { return !strings.ContainsAny(arg, "./") }

// testTargets finds which of the labs are up here.
func testTargets(args []string, plans []*topology.Plan) ([]scenarios.Target, error) {
	var targets []scenarios.Target
	for i, plan := range plans {
		name := args[i]
		if plan != nil {
			name = plan.Name
		}
		l, err := lab.Load(name)
		if err != nil && (plan == nil || !errors.Is(err, lab.ErrNotExist)) {
			return nil, err
		}
		if plan == nil {
			plan = l.Plan()
		}
		targets = append(targets, scenarios.Target{Plan: plan, Lab: l})
	}
	return targets, nil
}

// writable are the directories for what the test writes.
func writable(o scenarios.Options) ([]string, error) {
	var dirs []string
	for _, path := range []string{o.Artifacts, o.JUnitReport} {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, filepath.Dir(abs))
	}
	return dirs, nil
}
