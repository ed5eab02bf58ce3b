package scenarios_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/topology"
)

var (
	randomLabs = flag.Int("labs", 3, "how many random labs the suite must pass")
	randomSeed = flag.Uint64("seed", 1, "of the first random lab; the next has the next")
)

// Whatever the suite says of a lab with nothing wrong is a false alarm. `-labs
// 200` takes about twenty minutes.
func TestRandomLabs(t *testing.T) {
	needKernel(t)
	if testing.Short() && *randomLabs > 1 {
		*randomLabs = 1
	}
	dir, sctp := t.TempDir(), haveSCTP(t)
	results := make([]chan outcome, *randomLabs)
	texts := make([]string, *randomLabs)
	slots := make(chan struct{}, atOnce)
	for i := range results {
		results[i] = make(chan outcome, 1)
		seed := *randomSeed + uint64(i)
		texts[i] = randomLab(rand.New(rand.NewPCG(seed, 0)), fmt.Sprintf("r%d-%d", os.Getpid(), seed), sctp)
		file := filepath.Join(dir, fmt.Sprintf("seed-%d.yaml", seed))
		if err := os.WriteFile(file, []byte(texts[i]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, problems, err := topology.Open(file, ""); err != nil {
			t.Fatalf("the lab of seed %d is not valid: %v\n%v\n%s", seed, err, problems, texts[i])
		}
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] <- inProcess(t.Context(), []string{plantedFile + "=" + file})
		}()
	}
	for i := range results {
		t.Run(fmt.Sprintf("seed %d", *randomSeed+uint64(i)), func(t *testing.T) {
			o := <-results[i]
			if o.err != nil || !o.Passed {
				t.Errorf("%v\n%s\n%s", o.err, o.failures(), texts[i])
			}
			t.Logf("%d specs in %.1f s", len(o.Specs), o.Summary.Seconds)
		})
	}
}

// Random labs are labs that the file format takes without a word.
func TestRandomLabsAreValid(t *testing.T) {
	for seed := range uint64(200) {
		text := randomLab(rand.New(rand.NewPCG(seed, 0)), "random", true)
		file := filepath.Join(t.TempDir(), "lab.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, problems, err := topology.Open(file, ""); err != nil || len(problems) > 0 {
			t.Errorf("seed %d: %v\n%v\n%s", seed, err, problems, text)
			return
		}
	}
}

// A lab that does not come up is one failure, with its reason and nothing else.
func TestLabThatDoesNotComeUp(t *testing.T) {
	needKernel(t)
	file := filepath.Join(t.TempDir(), fmt.Sprintf("down-%d.yaml", os.Getpid()))
	text := "apiVersion: ipvslab/v1\nnetworks: {lan: 10.0.0.0/24}\nnodes:\n  one: {interfaces: {lan: 10.0.0.1}, run: {web: [/nonexistent/server]}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := inProcess(t.Context(), []string{plantedFile + "=" + file})
	if o.err != nil || o.Passed || len(o.Specs) == 0 {
		t.Fatalf("passed: %t, %v\n%s", o.Passed, o.err, o.failures())
	}
	want := "command web of node one: can't start the command: /nonexistent/server: command not found"
	if got := o.Specs[0].Message; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end with %q", got, want)
	}
}
