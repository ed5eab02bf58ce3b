package story

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

func TestMain(m *testing.M) {
	lab.Hook()
	os.Exit(m.Run())
}

// article is the plan of the tutorial's lab, under a name of the test's own.
func article(t *testing.T) *topology.Plan {
	t.Helper()
	probetest.Features(t, probe.IPVS, probe.NetAdmin)
	plan, _, err := topology.Open("../../examples/article.yaml", "story-"+fmt.Sprint(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := lab.Down(ctx, plan.Name); err != nil {
			t.Error(err)
		}
	})
	return plan
}

func TestPlayFromEachStep(t *testing.T) {
	plan := article(t)
	for _, step := range []int{1, 4, Steps()} {
		var out bytes.Buffer
		if err := Play(t.Context(), Options{Plan: plan, Step: step, Out: &out}); err != nil {
			t.Fatalf("from step %d: %v\n%s", step, err, &out)
		}
		if got := strings.Count(out.String(), "\nStep "); got != Steps()-step+1 {
			t.Errorf("from step %d: %d steps shown", step, got)
		}
		if !strings.Contains(out.String(), "ESTABLISHED") {
			t.Errorf("from step %d: no working end:\n%s", step, &out)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if len(line) > 160 {
				t.Errorf("line of %d columns: %s", len(line), line)
			}
		}
	}
}

// A story whose defect is missing, or whose mend does not mend, must not pass.
func TestPlayNoticesWhatIsDifferent(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*teller)
		want  string
	}{
		{"the way back is right from the start", func(t *teller) { t.cast.backupInside = t.cast.inside }, "step 4"},
		{"a real server names itself otherwise", func(t *teller) {
			t.cast.reals[0].name, t.cast.reals[1].name = t.cast.reals[1].name, t.cast.reals[0].name
		}, "step 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := article(t)
			spoil = tc.spoil
			defer func() { spoil = nil }()
			var out bytes.Buffer
			err := Play(t.Context(), Options{Plan: plan, Out: &out})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want a failure of %s", err, tc.want)
			}
		})
	}
}

func TestPlayRefusesOtherLabs(t *testing.T) {
	plan, _, err := topology.Open("../../examples/dr.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := Play(t.Context(), Options{Plan: plan}); err == nil || !strings.Contains(err.Error(), "two directors") {
		t.Fatalf("got %v", err)
	}
	if err := Play(t.Context(), Options{Plan: plan, Step: 99}); err == nil {
		t.Fatal("step 99 was taken")
	}
}
