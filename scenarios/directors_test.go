package scenarios_test

import (
	"os"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/scenarios"
	"github.com/ipvslab/ipvslab/topology"
)

// otherDirectors are examples once more, with other kinds of director: one word
// in the file is another. All examples have their turn in the long form, one
// with a program of the user's.
func otherDirectors(t *testing.T) []scenarios.Target {
	t.Helper()
	kinds := []string{"ipvsadm"}
	if probetest.HaveKeepalived(t) {
		kinds = append(kinds, "keepalived")
	}
	files := []string{"article"}
	if !testing.Short() {
		files = append(files, "failover", "dr", "tun", "ipv6", "minimal", "three-directors")
	}
	var targets []scenarios.Target
	for _, file := range files {
		for _, kind := range kinds {
			if file == "failover" && kind == "ipvsadm" {
				continue // rules take nothing over: see TestRulesTakeNothingOver
			}
			targets = append(targets, scenarios.Target{Plan: withDirector(t, "../examples/"+file+".yaml", kind, file+"-"+kind)})
		}
	}
	if !testing.Short() {
		const command = "{kind: command, argv: [sh, -c, 'ipvsadm-restore <$IPVSLAB_RULES && exec sleep 10000']}"
		targets = append(targets, scenarios.Target{Plan: withDirector(t, "../examples/three-directors.yaml", command, "three-directors-command")})
	}
	return targets
}

// TestRulesTakeNothingOver: a file that asks for it is refused, with the reason.
func TestRulesTakeNothingOver(t *testing.T) {
	data, err := os.ReadFile("../examples/failover.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file, err := topology.Parse("failover.yaml", []byte(strings.Replace(string(data), "\nnetworks:", "\ndirector: ipvsadm\nnetworks:", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if plan, problems := file.Plan(topology.Options{}); plan != nil || !strings.Contains(problems.Error(), "takes nothing over") {
		t.Errorf("got %v", problems)
	}
}

// withDirector is a topology with another kind of director.
func withDirector(t *testing.T, path, kind, name string) *topology.Plan {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "\nnetworks:", "\ndirector: "+kind+"\nnetworks:", 1)
	file, err := topology.Parse(path, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	plan, problems := file.Plan(topology.Options{Name: name})
	if plan == nil || !strings.Contains(kind, string(plan.DirectorOf(plan.Services[0].Directors[0]).Kind)) {
		t.Fatalf("no director of kind %s: %v", kind, problems)
	}
	return plan
}

func isKeepalived(d topology.DirectorPlan) bool { return d.Kind == topology.Keepalived }
