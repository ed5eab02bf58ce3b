package topology_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/topology"
)

func TestMinimalNAT(t *testing.T) {
	plan, problems, err := topology.Open("../examples/minimal.yaml", "")
	if err != nil || len(problems) > 0 {
		t.Fatalf("open: %v; problems:\n%v", err, problems)
	}
	got := map[string][]string{}
	for _, n := range plan.Nodes {
		for _, itf := range n.Interfaces {
			for _, a := range itf.Addresses {
				got[n.Name] = append(got[n.Name], a.Prefix.String())
			}
		}
		for _, r := range n.Routes {
			got[n.Name] = append(got[n.Name], r.To.String()+" via "+r.Via.String())
		}
	}
	want := map[string][]string{
		"client":   {"10.0.0.2/24"},
		"director": {"10.0.0.1/24", "10.0.0.100/32", "10.1.0.1/24"},
		"rs1":      {"10.1.0.11/24", "0.0.0.0/0 via 10.1.0.1"},
		"rs2":      {"10.1.0.12/24", "0.0.0.0/0 via 10.1.0.1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("addresses and routes (-want +got):\n%s", d)
	}
}
