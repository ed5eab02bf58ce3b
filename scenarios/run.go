package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/gomega"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// Target is a lab to put to the test.
type Target struct {
	Plan *topology.Plan
	// Lab is the running lab to test against Plan; nil: it is brought up from
	// Plan, and taken down afterwards.
	Lab *lab.Lab
}

// Options change how labs are tested. The zero value suits a Go test.
type Options struct {
	Focus       []string // regular expressions for the names of specs, lab's name first; none: all
	JUnitReport string   // a file to write, for CI
	JSON        bool     // write a Summary to Out instead of lines for a person
	Keep        bool     // leave labs up that were brought up
	Artifacts   string   // directory for the evidence of failures; empty: ipvslab-artifacts
	Out         io.Writer
	Color       bool
	Verbose     bool // each step of each spec, as ginkgo tells it
	// Agent says where the responders of labs live that are brought up.
	Agent lab.AgentMode
	// Warn is told what bringing labs up has to warn of (see lab.Options); it may be nil.
	Warn func(text string)
}

// specTimeout bounds one spec; each takes seconds, unless the machine is busy.
const specTimeout = 3 * time.Minute

// Run tests the labs, one after the other, and tells whether all specs passed.
// The error is about the testing itself: it could not be done, ctx ended, or
// nothing matched Options.Focus. It may be called once per process.
func Run(ctx context.Context, targets []Target, o Options) (passed bool, err error) {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Artifacts == "" {
		o.Artifacts = "ipvslab-artifacts"
	}
	if o.Artifacts, err = filepath.Abs(o.Artifacts); err != nil {
		return false, fmt.Errorf("find directory for evidence: %w", err)
	}
	if err := CheckFocus(o.Focus); err != nil {
		return false, err
	}
	suite, report := ginkgo.GinkgoConfiguration()
	suite.FocusStrings, suite.FailOnEmpty = o.Focus, false
	suite.PollProgressAfter = specTimeout / 3
	if report.JUnitReport, err = absolute(o.JUnitReport); err != nil {
		return false, fmt.Errorf("find file for the JUnit report: %w", err)
	}
	report.Verbose, report.NoColor = o.Verbose, !o.Color
	// ginkgo's own reporter is for the curious; the teller below for everybody.
	formatter.ColorableStdOut = io.Discard
	if o.Verbose && !o.JSON {
		formatter.ColorableStdOut = o.Out
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	t := &teller{Options: o, ctx: ctx}
	beat, stop := context.WithCancel(ctx)
	defer stop()
	build(ctx, targets, o, t, startPulse(beat))
	passed = ginkgo.RunSpecs(quiet{}, "ipvslab", suite, report)
	if ctx.Err() != nil {
		return false, errors.Join(t.end(false), ctx.Err())
	}
	if t.ran == 0 && passed {
		return false, fmt.Errorf("no spec of %d matches the focus %q", t.skipped, o.Focus)
	}
	return passed, t.end(passed)
}

// CheckFocus tells what is wrong with patterns for [Options.Focus].
func CheckFocus(patterns []string) error {
	var errs []error
	for _, p := range patterns {
		if _, err := regexp.Compile(p); err != nil {
			errs = append(errs, fmt.Errorf("read focus %q: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

// quiet takes ginkgo's verdict, which RunSpecs returns as well.
type quiet struct{}

func (quiet) Fail() {}

// build makes the tree of specs: a container per lab, in the given order
// (ginkgo shuffles what is at the top).
func build(ctx context.Context, targets []Target, o Options, t *teller, p *pulse) {
	ginkgo.Describe("labs", func() {
		waited := new(bool)
		for _, target := range targets {
			st := &stage{Target: target, opts: o, ctx: ctx, plan: target.Plan, waited: waited, pulse: p}
			ginkgo.Describe(target.Plan.Name, ginkgo.Ordered, ginkgo.ContinueOnFailure, st.container)
		}
	})
	ginkgo.ReportAfterEach(func(r ginkgo.SpecReport) { t.tell(r) })
}
