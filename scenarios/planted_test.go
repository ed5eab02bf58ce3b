package scenarios_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/scenarios"
	"github.com/ipvslab/ipvslab/topology"
)

// defect is something wrong with a lab, and what a verdict must say about it.
type defect struct {
	name string
	lab  string // of testdata/defects, without .yaml
	// build changes what is brought up; the suite is told of the file's plan.
	build func(p *topology.Plan)
	// plant changes the running lab, with its cleanup.
	plant func(s site) error
	// says is what the messages of failed specs must contain, each in one of them.
	says []string
	// fails and spares are in the names of specs that must fail, and that must not.
	fails, spares []string
	// focus names the specs that the defect has to pass through, if not the brief ones.
	focus []string
}

// harmless tells a healthy lab.
func (d defect) harmless() bool { return len(d.says)+len(d.fails) == 0 }

// slow tells a defect that the suite waits for as long as it can: statistics
// that never come.
func (d defect) slow() bool { return slices.Contains(d.focus, "statistics") }

// brief are the specs that defects have to pass through; those left out look
// at the same things again, or wait for the kernel's timers. A healthy lab has
// to pass all.
var brief = []string{
	"links are up", "kernel settings", "every responder answers", "tables are as planned",
	"one by one", "at every hop", "every port", "large", "scenario: ",
}

// The environment of a process that runs the suite: against the lab that is up,
// if one is named.
const (
	plantedLab   = "IPVSLAB_TEST_PLANTED_LAB"
	plantedFile  = "IPVSLAB_TEST_PLANTED_FILE"
	plantedBrief = "IPVSLAB_TEST_PLANTED_BRIEF"
)

// planted runs the suite if this process was started for that, and ends it.
// ginkgo runs one suite per process.
func planted() {
	name, file := os.Getenv(plantedLab), os.Getenv(plantedFile)
	if file == "" {
		return
	}
	if err := giveWay(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	passed, err := testPlanted(name, file)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case !passed:
		os.Exit(1)
	}
	os.Exit(0)
}

// giveWay lowers this process's priority, thread by thread. Several suites at
// once keep a guest's one processor busy, and the kernel's workers, which wait
// their turn among them at each bucket of the connection table, would take
// longer than any suite waits: they flush connections, and put IPv6 addresses
// into effect.
func giveWay() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("lower priority: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("lower priority: %w", err)
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, 10); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("lower priority: %w", err)
		}
	}
	return nil
}

func testPlanted(name, file string) (bool, error) {
	plan, _, err := topology.Open(file, name)
	if err != nil {
		return false, err
	}
	target := scenarios.Target{Plan: plan}
	if name != "" {
		if target.Lab, err = lab.Load(name); err != nil {
			return false, err
		}
	}
	evidence, err := os.MkdirTemp("", "ipvslab-planted-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(evidence)
	o := scenarios.Options{JSON: true, Artifacts: evidence}
	if focus := os.Getenv(plantedBrief); focus != "" {
		o.Focus = strings.Split(focus, ";")
	}
	return scenarios.Run(context.Background(), []scenarios.Target{target}, o)
}

// suiteTimeout bounds one run of the suite. A defect can make every connection
// wait for its time-out.
const suiteTimeout = 4 * time.Minute

// outcome is what a run of the suite came to.
type outcome struct {
	scenarios.Summary
	seconds float64
	err     error
}

// runSuite brings a lab up, plants the defect, and runs the suite against it.
func runSuite(ctx context.Context, d defect, name string) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, suiteTimeout)
	defer cancel()
	began := time.Now()
	file := "testdata/defects/" + d.lab + ".yaml"
	plan, _, err := topology.Open(file, name)
	if err != nil {
		return outcome{err: err}
	}
	if d.build != nil {
		d.build(plan)
	}
	l, err := lab.Up(ctx, plan, lab.Options{})
	if err != nil {
		return outcome{err: err}
	}
	s := site{Lab: l, ctx: ctx, cleanups: &[]func() error{}}
	defer func() {
		o.seconds = time.Since(began).Seconds()
		o.err = errors.Join(o.err, s.clean(), l.Down(context.WithoutCancel(ctx)))
	}()
	if d.plant != nil {
		if err := d.plant(s); err != nil {
			return outcome{err: fmt.Errorf("plant the defect: %w", err)}
		}
	}
	env := []string{plantedLab + "=" + name, plantedFile + "=" + file}
	if !d.harmless() || d.focus != nil {
		focus := d.focus
		if focus == nil {
			focus = brief
		}
		env = append(env, plantedBrief+"="+strings.Join(focus, ";"))
	}
	return inProcess(ctx, env)
}

// inProcess runs the suite in a process of its own.
func inProcess(ctx context.Context, env []string) outcome {
	self, err := os.Executable()
	if err != nil {
		return outcome{err: err}
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return outcome{err: fmt.Errorf("the suite did not run: %w\n%s%s", err, &stdout, &stderr)}
	}
	var o outcome
	if jsonErr := json.Unmarshal(stdout.Bytes(), &o.Summary); jsonErr != nil {
		return outcome{err: fmt.Errorf("read the suite's summary: %w\n%s%s", jsonErr, &stdout, &stderr)}
	}
	if o.Passed != (err == nil) {
		o.err = fmt.Errorf("the summary says passed: %t, the exit status otherwise: %w", o.Passed, err)
	}
	return o
}

// failures lists the failed specs with their messages.
func (o outcome) failures() string {
	var b strings.Builder
	for _, s := range o.Specs {
		if s.State != "passed" {
			fmt.Fprintf(&b, "%s: %s\n    %s\n", s.State, s.Name, strings.ReplaceAll(s.Message, "\n", "\n    "))
		}
	}
	return b.String()
}

// says tells whether one failed spec's message contains the words.
func (o outcome) says(words string) bool {
	return slices.ContainsFunc(o.Specs, func(s scenarios.Spec) bool {
		return s.State == "failed" && strings.Contains(s.Message, words)
	})
}

// spec tells whether a spec with the words in its name failed, or else passed.
func (o outcome) spec(words string, failed bool) bool {
	return slices.ContainsFunc(o.Specs, func(s scenarios.Spec) bool {
		return strings.Contains(s.Name, words) && (s.State == "failed") == failed && (s.State == "passed") != failed
	})
}

// atOnce is how many suites run side by side: they wait most of their time.
const atOnce = 5

// runAll starts the suites, at most atOnce at a time, and gives a channel for
// each one's outcome.
func runAll(ctx context.Context, defects []defect) []chan outcome {
	slots := make(chan struct{}, atOnce)
	results := make([]chan outcome, len(defects))
	for i := range defects {
		results[i] = make(chan outcome, 1)
	}
	go func() {
		for i, d := range defects {
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				results[i] <- runSuite(ctx, d, fmt.Sprintf("d%d-%d", os.Getpid(), i))
			}()
		}
	}()
	return results
}

// everyNth is a sample that is the same each time.
func everyNth(all []defect, n int) []defect {
	var some []defect
	for i := 0; i < len(all); i += n {
		some = append(some, all[i])
	}
	return some
}

// A lab with nothing wrong passes; each defect makes it fail, with a message
// that names the defect.
func TestPlantedDefects(t *testing.T) {
	needKernel(t)
	all := slices.Concat(healthy(), defects())
	var chosen []defect
	for _, d := range all {
		wanted := func(words string) bool { return strings.Contains(d.name, words) }
		if slices.ContainsFunc(strings.Split(os.Getenv("IPVSLAB_TEST_DEFECT"), ";"), wanted) { // all, if it is not set
			chosen = append(chosen, d)
		}
	}
	if testing.Short() { // `make test-long` takes them all
		chosen = everyNth(slices.DeleteFunc(chosen, defect.slow), 11)
	}
	results := runAll(t.Context(), chosen)
	for i, d := range chosen {
		t.Run(d.name, func(t *testing.T) {
			o := <-results[i]
			t.Logf("%d specs in %.1f s\n%s", len(o.Specs), o.seconds, o.failures())
			if o.err != nil {
				t.Fatal(o.err)
			}
			if o.Passed != d.harmless() {
				t.Fatalf("passed: %t", o.Passed)
			}
			for _, words := range d.says {
				if !o.says(words) {
					t.Errorf("no message of a failed spec contains %q", words)
				}
			}
			for _, name := range d.fails {
				if !o.spec(name, true) {
					t.Errorf("no failed spec is named %q", name)
				}
			}
			for _, name := range d.spares {
				if !o.spec(name, false) {
					t.Errorf("no spec that passed is named %q", name)
				}
			}
		})
	}
}
