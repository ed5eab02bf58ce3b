package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

func TestReadOutcomes(t *testing.T) {
	const pkg = `"Package":"github.com/ipvslab/ipvslab/lb/oracle"`
	events := strings.Join([]string{
		`{"Action":"pass",` + pkg + `,"Test":"TestOne/part"}`,
		`{"Action":"pass",` + pkg + `,"Test":"TestOne"}`,
		`{"Action":"output",` + pkg + `,"Test":"TestTwos","Output":"    twos_test.go:64: no such scheduler\n"}`,
		`{"Action":"skip",` + pkg + `,"Test":"TestTwos"}`,
		`{"Action":"fail",` + pkg + `,"Test":"TestBad"}`,
		`{"Action":"fail",` + pkg + `}`,
		`{"Action":"fail","Package":"github.com/ipvslab/ipvslab/lab"}`, // died before its first test
		`not JSON`,
	}, "\n")
	r := result{Skipped: map[string]string{}}
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lb/oracle TestBad", "lab"}, r.Failed); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"lb/oracle TestTwos": "no such scheduler"}, r.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	if got := r.String(); got != "**2 failed**, 2 passed, 1 skipped (0s)" {
		t.Error(got)
	}
}

// TestReport: what is the same is left out, what differs is told, and a kernel
// that is not there is a row.
func TestReport(t *testing.T) {
	seen := func(twos probe.State, v oracle.Variant, settings map[string]string) facts {
		return facts{Report: probe.Report{Features: []probe.Feature{
			{Name: probe.IPVS, State: probe.Yes}, {Name: probe.Scheduler("twos"), State: twos},
		}}, Variant: v, Sysctls: settings}
	}
	uml := image.Kernel{Launcher: image.UML, Origin: "cache"}
	r := report{rows: []row{
		{
			Kernel:  kernel{Name: "old", Image: uml},
			Facts:   seen(probe.No, oracle.Variant{Overhead: oracle.ActiveInactive, Overload: oracle.OnBind}, map[string]string{"a": "1", "b": "2", byMemory: "3"}),
			Results: []result{{Job: "labs", Passed: 3}},
		},
		{Kernel: kernel{Name: "gone", Missing: "no network"}},
		{Kernel: kernel{Name: "dead", Image: uml}, BootError: "it panicked |"},
		{
			Kernel:  kernel{Name: "new", Image: image.Kernel{Launcher: image.QEMU}},
			Facts:   seen(probe.Yes, oracle.Variant{Overhead: oracle.ActiveTotal, Overload: oracle.OnBind}, map[string]string{"a": "1", byMemory: "4"}),
			Results: []result{{Job: "labs", Left: true}},
		},
	}}
	path := filepath.Join(t.TempDir(), "kernels.md")
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| B | gone |  | not at hand: no network |", "| C | dead | user-mode Linux | **no**: it panicked / |", "| | A | D |",
		"| active*256+inactive | active*256+total |", "| overload flag | on-bind | on-bind |",
		"| `sched:twos` | no | yes |", "| `b` | 2 | missing |", "| labs | 3 passed (0s) | not run |",
		"The same in all:", "2 settings",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q", want)
		}
	}
	for _, never := range []string{"`ipvs`", "`a`", byMemory} {
		if strings.Contains(string(text), never) {
			t.Errorf("%s is the same in all, but listed", never)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
	if !r.rows[2].failed() || r.rows[0].failed() || r.rows[1].failed() {
		t.Error("only the kernel that did not boot has failed")
	}
}
