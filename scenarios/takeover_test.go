package scenarios_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/scenarios"
	"github.com/ipvslab/ipvslab/topology"
)

// takeoverDefects are what keeps a takeover from being one.
func takeoverDefects() []defect {
	const spec = "the master loses its links"
	fault := func(f topology.Fault) func(site) error {
		return func(s site) error {
			_, err := s.Fault(s.ctx, f)
			return err
		}
	}
	return []defect{
		{name: "healthy takeover", lab: "takeover"},
		{
			name: "the backup does not listen", lab: "takeover",
			plant: fault(topology.Fault{Do: topology.FaultFreeze, Node: "backup"}),
			says:  []string{"nobody was served any more; at most 2.5s are allowed", "backup was to have the addresses in the end, alone"},
			fails: []string{spec},
		},
		{
			name: "connections are not synchronised", lab: "takeover",
			build: func(p *topology.Plan) { p.Failover[0].Sync = nil },
			says:  []string{"of 5 streams 5 did not go on"},
			fails: []string{spec},
		},
		{
			name: "the directors don't hear each other", lab: "takeover",
			plant: fault(topology.Fault{Do: topology.FaultPartition, Node: "master", With: []string{"backup"}}),
			says:  []string{"split brain: master and backup had the addresses of main at the same time"},
			fails: []string{spec},
		},
		{
			name: "a floating address taken off", lab: "takeover",
			plant: func(s site) error {
				return s.link("master", "inside", func(h *netlink.Handle, l netlink.Link) error {
					return h.AddrDel(l, addr("10.1.0.1/32"))
				})
			},
			focus: []string{"group main"},
			says:  []string{"director master has [10.0.0.100] and lacks [10.1.0.1]"},
			fails: []string{"one director has the addresses"},
		},
		{
			name: "a backup that does not reach the real servers", lab: "takeover",
			plant: fault(topology.Fault{Do: topology.FaultLoss, Node: "backup", Interface: "inside", Loss: 100}),
			says:  []string{"of 5 streams 5 did not go on"},
			fails: []string{spec},
		},
	}
}

// TestFaults plays the scenarios of testdata/faults with all that goes wrong in
// them, each file in a process of its own, with each director that takes over.
func TestFaults(t *testing.T) {
	needKernel(t)
	if testing.Short() {
		t.Skip("minutes; `make test-long` plays them, examples/failover.yaml has a short one")
	}
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no topology (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { playFaults(t, file) })
		t.Run(filepath.Base(file)+", keepalived", func(t *testing.T) {
			probetest.Keepalived(t)
			playFaults(t, rewritten(t, file, "keepalived"))
		})
	}
}

func playFaults(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	o := inProcess(ctx, []string{plantedFile + "=" + file, plantedBrief + "=scenario: "})
	for _, s := range o.Specs {
		t.Logf("%s: %s (%.1f s)\n%s", s.State, s.Name, s.Seconds, strings.Join(s.Notes, "\n"))
	}
	if plan, _, err := topology.Open(file, ""); err != nil || len(o.Specs) != len(plan.Scenarios) {
		t.Errorf("%d specs were played, not one for each scenario (%v)", len(o.Specs), err)
	}
	if o.err != nil || !o.Passed {
		t.Errorf("%v\n%s", o.err, o.failures())
	}
	if filepath.Base(file) == "directors.yaml" && !slices.ContainsFunc(o.Specs, saysSplitBrain) {
		t.Error("two directors did not see each other, and no spec says so")
	}
}

// rewritten is a copy of a topology with another kind of director.
func rewritten(t *testing.T, path, kind string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "\nnetworks:", "\ndirector: "+kind+"\nnetworks:", 1)
	copied := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

func saysSplitBrain(s scenarios.Spec) bool {
	return slices.ContainsFunc(s.Notes, func(n string) bool {
		return strings.Contains(n, "split brain: main") && strings.Contains(n, "master and backup")
	})
}
