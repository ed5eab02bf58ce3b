package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"

	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// here runs a command line in this process; it must succeed.
func here(t *testing.T, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot(&app{in: strings.NewReader(stdin), out: &out, err: &errs})
	root.SetArgs(args)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("ipvslab %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), errs.String()
}

// withServices is a topology file whose services are replaced.
func withServices(t *testing.T, file, services string) *topology.Plan {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all, replaced map[string]yaml.Node
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(services), &replaced); err != nil {
		t.Fatalf("%v\n%s", err, services)
	}
	all["services"] = replaced["services"]
	delete(all, "scenarios") // they may name other directors' services
	if text, err = yaml.Marshal(all); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	plan, problems, err := topology.Open(path, "")
	if err != nil {
		t.Fatalf("%v\n%v\n%s", err, problems, services)
	}
	return plan
}

// TestServicesRoundTrip: the services of each example, written as YAML, and as
// a rules file that is imported again, make the same plan.
func TestServicesRoundTrip(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		plan, _, err := topology.Open(file, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range plan.Nodes {
			if n.Role != topology.Director {
				continue
			}
			want := []topology.Service{}
			for _, s := range plan.Services {
				if len(s.Directors) > 0 && s.Directors[0] == n.Name {
					want = append(want, s)
				}
			}
			if len(want) == 0 {
				continue
			}
			text, lost := here(t, "", "export", file, "--node", n.Name, "--format", string(ipvsadm.YAML))
			if lost != "" {
				t.Errorf("%s: as YAML: %s", file, lost)
			}
			same(t, file, want, withServices(t, file, text))
			rules, _ := here(t, "", "export", file, "--node", n.Name)
			text, lost = here(t, rules, "import", "-", "--for", file, "--node", n.Name)
			if lost != "" {
				t.Errorf("%s: imported: %s", file, lost)
			}
			same(t, file, want, withServices(t, file, text))
		}
	}
}

func same(t *testing.T, file string, want []topology.Service, got *topology.Plan) {
	t.Helper()
	if d := cmp.Diff(want, got.Services, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s: (-original +read back):\n%s", file, d)
	}
}
