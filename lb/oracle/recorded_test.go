package oracle_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

var update = flag.Bool("update", false, "record what this kernel picks, into testdata/recorded")

// pickMark begins a line with what the kernel picked; to the script a comment.
const pickMark = "#picked "

// record writes down what happened in the kernel, and what it picked.
func record(t *testing.T, r run, script predict.Input, picks []string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# Recorded from a kernel by TestEachPickInTheKernel -update.\n%s", script)
	for _, p := range picks {
		fmt.Fprintln(&b, pickMark+p)
	}
	name := fmt.Sprintf("%s-%d-%s-IPv%d-%s.script", r.scheduler, r.flags>>3, r.protocol, r.family, script.Variant.Overload)
	if err := os.WriteFile(filepath.Join("testdata/recorded", name), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRecordedRuns plays what kernels did on the model: the proof that needs
// no kernel.
func TestRecordedRuns(t *testing.T) {
	paths, err := filepath.Glob("testdata/recorded/*.script")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recorded runs: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want, got []string
			for line := range strings.Lines(string(text)) {
				if p, ok := strings.CutPrefix(strings.TrimSpace(line), pickMark); ok {
					want = append(want, p)
				}
			}
			in, err := predict.Parse(strings.NewReader(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			out, err := predict.Run(in)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range out.Steps {
				if s.Picked != "" {
					got = append(got, s.Picked)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("picks (-kernel +model):\n%s", diff)
			}
		})
	}
}
