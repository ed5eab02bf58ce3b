package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// Summary is what `ipvslab test --json` prints.
type Summary struct {
	Passed  bool    `json:"passed"`
	Seconds float64 `json:"seconds"`
	Specs   []Spec  `json:"specs"`
}

// Spec is a spec that ran, and its verdict.
type Spec struct {
	Lab      string   `json:"lab"`
	Name     string   `json:"name"`
	State    string   `json:"state"` // ginkgo's word: passed, failed, timedout, interrupted, panicked, skipped
	Seconds  float64  `json:"seconds"`
	Message  string   `json:"message,omitempty"`
	Steps    []string `json:"steps,omitempty"`    // of a failed spec
	Notes    []string `json:"notes,omitempty"`    // what the spec could not look at, and why
	Evidence []string `json:"evidence,omitempty"` // files
}

// The names of report entries.
const (
	noteEntry     = "note"
	evidenceEntry = "evidence"
)

// teller tells a person, or a program, what became of the specs.
type teller struct {
	Options
	ctx          context.Context // of the run: a spec that fails after its end was cut short, and says nothing of the lab
	summary      Summary
	lab          string
	ran, skipped int // skipped: out of focus
	notRun       int // because their lab could not be brought up, or the run was ended
	failed       []Spec
	began        time.Time
}

// tell takes one spec's report.
func (t *teller) tell(r ginkgo.SpecReport) {
	if t.began.IsZero() {
		t.began = r.StartTime
	}
	if r.State.Is(types.SpecStateSkipped) && r.Failure.Message == "" {
		t.skipped++
		return
	}
	s := specOf(r)
	if r.State.Is(types.SpecStateSkipped) {
		t.summary.Specs = append(t.summary.Specs, s)
		t.notRun++
		return
	}
	failed := r.Failed()
	if failed && t.ctx.Err() != nil {
		failed, s.State = false, types.SpecStateInterrupted.String()
	}
	t.ran++
	t.summary.Specs = append(t.summary.Specs, s)
	if failed {
		t.failed = append(t.failed, s)
	}
	if t.JSON || t.Verbose {
		return
	}
	if s.Lab != t.lab {
		t.lab = s.Lab
		fmt.Fprintf(t.Out, "%s\n", t.paint("1", s.Lab))
	}
	mark, sgr := "ok  ", "32"
	switch {
	case failed:
		mark, sgr = "FAIL", "31"
	case r.Failed():
		mark, sgr = "cut ", "33"
	}
	fmt.Fprintf(t.Out, "  %s  %s  %s\n", t.paint(sgr, mark), s.Name, t.paint("2", fmt.Sprintf("(%.2f s)", s.Seconds)))
	for _, n := range s.Notes {
		fmt.Fprintln(t.Out, indent(n))
	}
	if failed {
		t.explain(s)
	}
}

// indent puts a text below the name of its spec.
func indent(text string) string { return "        " + strings.ReplaceAll(text, "\n", "\n        ") }

// explain prints a failure with the step it happened in and where the evidence is.
func (t *teller) explain(s Spec) {
	if len(s.Steps) > 0 {
		fmt.Fprintln(t.Out, indent("while: "+s.Steps[len(s.Steps)-1]))
	}
	fmt.Fprintln(t.Out, t.paint("31", indent(s.Message)))
	for _, e := range s.Evidence {
		fmt.Fprintln(t.Out, indent("evidence: "+e))
	}
}

func specOf(r ginkgo.SpecReport) Spec {
	s := Spec{Name: r.LeafNodeText, State: r.State.String(), Seconds: r.RunTime.Seconds()}
	if len(r.ContainerHierarchyTexts) > 1 {
		s.Lab = r.ContainerHierarchyTexts[1]
	}
	for _, e := range r.ReportEntries {
		switch text := e.StringRepresentation(); e.Name {
		case noteEntry:
			s.Notes = append(s.Notes, text)
		case evidenceEntry:
			s.Evidence = append(s.Evidence, text)
		}
	}
	if r.Failure.IsZero() {
		return s
	}
	s.Message = strings.TrimRight(r.Failure.Message, "\n")
	if r.Failure.ForwardedPanic != "" {
		s.Message += ": " + r.Failure.ForwardedPanic + "\n" + r.Failure.Location.FullStackTrace
	}
	for _, e := range r.AdditionalFailures {
		s.Message += "\nand then: " + e.Failure.Message
	}
	for _, e := range r.SpecEvents {
		if e.SpecEventType.Is(types.SpecEventByStart) {
			s.Steps = append(s.Steps, e.Message)
		}
	}
	return s
}

// end tells the sum.
func (t *teller) end(passed bool) error {
	t.summary.Passed = passed
	if !t.began.IsZero() {
		t.summary.Seconds = time.Since(t.began).Seconds()
	}
	if t.JSON {
		enc := json.NewEncoder(t.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(t.summary); err != nil {
			return fmt.Errorf("write summary: %w", err)
		}
		return nil
	}
	if t.ctx.Err() != nil && len(t.failed) == 0 {
		fmt.Fprintf(t.Out, "%s after %d specs; none of them failed\n", t.paint("33", "interrupted"), t.ran)
		return nil
	}
	if len(t.failed) == 0 {
		fmt.Fprintf(t.Out, "%s %d specs in %.1f s\n", t.paint("32", "passed:"), t.ran, t.summary.Seconds)
		return nil
	}
	fmt.Fprintf(t.Out, "%s %d of %d specs in %.1f s:\n", t.paint("31", "FAILED:"), len(t.failed), t.ran, t.summary.Seconds)
	for _, s := range t.failed {
		fmt.Fprintf(t.Out, "  %s: %s\n", s.Lab, s.Name)
	}
	if t.notRun > 0 {
		fmt.Fprintf(t.Out, "  %d more could not be run\n", t.notRun)
	}
	return nil
}

// paint colours text with an SGR parameter (ECMA-48).
func (t *teller) paint(sgr, text string) string {
	if !t.Color {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}
