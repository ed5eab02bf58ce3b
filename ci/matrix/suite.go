package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// job is a part of the suite: a row of the report.
type job struct {
	name     string
	emulated bool // part of what runs under QEMU
	args     []string
}

// jobs are the tests that speak to the kernel, in the report's order.
func jobs(o options) []job {
	return []job{
		{"scenarios: everything a topology file can say", false, []string{"-short", "./scenarios/..."}},
		{"labs, traffic, capture", false, []string{"-short", "./lab/..."}},
		{fmt.Sprintf("model and kernel, %d picks of each scheduler in a row", o.picks), true, []string{
			"./lb/oracle", "-run", "Kernel|Detect|Replayed|Twos", "-picks", fmt.Sprint(o.picks), "-rapid.checks=40",
		}},
		{"ipvsadm beside the original", true, []string{"-short", "./lb/ipvsadm", "-run", "Differential"}},
		{"the kernel's table", true, []string{"-short", "./lb/ipvs"}},
	}
}

// result is what became of a job in one kernel.
type result struct {
	Job     string            `json:"job"`
	Left    bool              `json:"left,omitempty"` // it does not run under QEMU
	Passed  int               `json:"passed"`
	Failed  []string          `json:"failed,omitempty"` // tests, and packages that did not get to run any
	Skipped map[string]string `json:"skipped,omitempty"`
	Took    time.Duration     `json:"tookNs"`
	Broken  string            `json:"broken,omitempty"` // why it did not run to its end
}

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
}

// jobLimit ends a job that hangs. An emulated processor is about ten times
// slower, and five times as long is enough for its part of the suite.
func jobLimit(k kernel) time.Duration {
	if k.emulated() {
		return 100 * time.Minute
	}
	return 20 * time.Minute
}

// run runs the job's tests in a guest with the kernel.
func (j job) run(ctx context.Context, o options, k kernel) result {
	fmt.Fprintln(os.Stderr, "matrix:   ", j.name)
	ctx, stop := context.WithTimeout(ctx, jobLimit(k))
	defer stop()
	out := result{Job: j.name, Skipped: map[string]string{}}
	start := time.Now()
	if err := out.runTests(ctx, o, k, j.args); err != nil {
		out.Broken = err.Error()
	}
	out.Took = time.Since(start)
	return out
}

// runTests returns an error only where the events don't tell of a failure.
func (r *result) runTests(ctx context.Context, o options, k kernel, args []string) error {
	limit := jobLimit(k) - 2*time.Minute // the test then says where it hangs
	wrapper := fmt.Sprintf("%s --kernel %s kernel exec --", o.binary, k.Image.Path)
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-count=1", "-p", "1", "-timeout", limit.String(), "-exec", wrapper}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "IPVSLAB_REQUIRE_KERNEL=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := r.read(stdout)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(r.Failed) > 0 {
		err = nil
	}
	return errors.Join(err, readErr, ctx.Err())
}

// read counts the outcomes of tests and their parts.
func (r *result) read(events io.Reader) error {
	said := map[string]string{} // what each test wrote, its last lines
	s := bufio.NewScanner(events)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			continue // what `go test` itself says is not JSON
		}
		key := strings.TrimPrefix(e.Package, "github.com/ipvslab/ipvslab/") + " " + e.Test
		switch {
		case e.Action == "output":
			text := said[key] + e.Output
			said[key] = text[max(0, len(text)-4000):]
		case e.Test == "" && e.Action == "fail":
			if !slices.ContainsFunc(r.Failed, func(f string) bool { return strings.HasPrefix(f, key) }) {
				r.fail(strings.TrimSpace(key), said[key])
			}
		case e.Test == "":
		case e.Action == "pass":
			r.Passed++
		case e.Action == "fail":
			r.fail(key, said[key])
		case e.Action == "skip":
			r.Skipped[key] = reason(said[key])
		}
	}
	return s.Err()
}

func (r *result) fail(name, said string) {
	r.Failed = append(r.Failed, name)
	fmt.Fprintf(os.Stderr, "matrix:     failed: %s\n%s\n", name, said)
}

// reason is what a test said as it was skipped: "file_test.go:12: reason".
func reason(said string) string {
	for line := range strings.Lines(said) {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), ".go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				return strings.TrimSpace(text)
			}
		}
	}
	return "no reason given"
}
