package scenarios_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/scenarios"
	"github.com/ipvslab/ipvslab/topology"
)

func TestMain(m *testing.M) {
	lab.Hook(ipvsadmNames...)
	playIpvsadm()
	planted() // ends this process if it is one of TestPlantedDefects'
	if len(os.Args) == 3 && os.Args[1] == ownServer {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+os.Args[2], http.NotFoundHandler()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// ownServer is a program in a topology of testdata whose part this test's binary plays.
const ownServer = "own-server"

func playOwnServer(t *testing.T, plan *topology.Plan) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range plan.Nodes {
		for i, c := range n.Commands {
			if c.Argv[0] == ownServer {
				n.Commands[i].Argv = append([]string{self}, c.Argv...)
			}
		}
	}
}

// TestLabs puts every example and every topology of testdata to the test.
func TestLabs(t *testing.T) {
	needKernel(t)
	t.Setenv("IPVSLAB_STATE", t.TempDir())
	var targets []scenarios.Target
	for _, pattern := range []string{"../examples/*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no topology is like %s (%v)", pattern, err)
		}
		for _, f := range files {
			plan, _, err := topology.Open(f, "")
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(plan.Directors, isKeepalived) && !probetest.HaveKeepalived(t) {
				continue
			}
			if slices.Contains(launch.Needs(plan, false), sctpSocket) && !haveSCTP(t) {
				continue
			}
			playOwnServer(t, plan)
			targets = append(targets, scenarios.Target{Plan: plan})
		}
	}
	targets = append(targets, otherDirectors(t)...)
	passed, err := scenarios.Run(t.Context(), targets, scenarios.Options{Verbose: testing.Verbose()})
	if err != nil {
		t.Fatal(err)
	}
	if !passed {
		t.Fail()
	}
}

const sctpSocket = "socket:sctp"

// haveSCTP tells whether this kernel makes SCTP sockets, which not every one can.
func haveSCTP(t *testing.T) bool {
	t.Helper()
	missing := probe.Only(t.Context(), sctpSocket).Missing(sctpSocket)
	if missing != nil {
		t.Logf("left out what speaks SCTP: %v", missing)
	}
	return missing == nil
}

// needKernel skips unless this kernel has IPVS and lets us use it, and proves
// it by trying.
func needKernel(t *testing.T) {
	t.Helper()
	probetest.Features(t, probe.NetAdmin, probe.SysAdmin, probe.Link("veth"), probe.Link("bridge"), probe.IPVS)
}
