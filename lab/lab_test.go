package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

func TestMain(m *testing.M) {
	lab.Hook(playedProgram)
	playProgram()
	helper()
	os.Exit(m.Run())
}

// stateRoot gives the test a state directory of its own.
func stateRoot(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("IPVSLAB_STATE", dir)
	return dir
}

// labName is a name that no other test process uses.
func labName(suffix string) string { return fmt.Sprintf("t%d-%s", os.Getpid(), suffix) }

// plan loads a topology from testdata and gives it another name.
func plan(t testing.TB, file, name string) *topology.Plan {
	t.Helper()
	p, problems, err := topology.Open("testdata/"+file, name)
	if err != nil {
		t.Fatalf("%v\n%v", err, problems)
	}
	return p
}

// up brings a lab up and takes care that it ends.
func up(t testing.TB, p *topology.Plan, opts lab.Options) *lab.Lab {
	t.Helper()
	t.Cleanup(func() {
		if _, err := lab.Down(context.Background(), p.Name); err != nil {
			t.Error(err)
		}
	})
	l, err := lab.Up(t.Context(), p, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run runs a shell script in a node and returns its output.
func run(t testing.TB, l *lab.Lab, node, script string) string {
	t.Helper()
	out, status := try(t, l, node, script)
	if status != 0 {
		t.Fatalf("%s: %s: status %d\n%s", node, script, status, out)
	}
	return out
}

func try(t testing.TB, l *lab.Lab, node, script string) (string, int) {
	t.Helper()
	n, err := l.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	status, err := n.Exec(t.Context(), lab.ExecSpec{Argv: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), status
}

// host is what the caller's own namespace looks like.
func host(t testing.TB) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for _, args := range [][]string{
		{"ip", "-o", "link"},
		{"ip", "-o", "address"},
		{"ip", "route", "show", "table", "all"},
		{"ip", "-6", "route", "show", "table", "all"},
		{"ip", "rule"},
		{"ip", "netns"},
		{"sh", "-c", "grep -r . /proc/sys/net 2>/dev/null | grep -v -e /random -e /conntrack_count -e netfilter/nf_conntrack_count -e /proc/sys/net/ipv4/route/flush | sort"},
	} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil && args[0] != "sh" {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		seen[strings.Join(args[:2], " ")+args[len(args)-1]] = string(out)
	}
	return seen
}

// client -- outside(10.9.0.0/24) -- router -- inside(10.9.1.0/24) -- rs1, rs2.
func TestUpDown(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	before := host(t)
	l := up(t, plan(t, "nat.yaml", labName("updown")), lab.Options{NoServices: true})
	during := host(t)
	delete(before, "ip netnsnetns")
	delete(during, "ip netnsnetns")
	if diff := cmp.Diff(before, during); diff != "" {
		t.Errorf("the host changed (-before +during):\n%s", diff)
	}
	for _, rs := range []string{"rs1", "rs2"} { // by name, through the router, without a lost packet
		if out := run(t, l, "client", "curl -sS --max-time 0.9 http://"+rs+"/"); out != rs+"\n" {
			t.Errorf("%s answers %q", rs, out)
		}
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
	if found, err := lab.Down(t.Context(), l.Name()); found || err != nil {
		t.Errorf("second Down: found %v, %v", found, err)
	}
}

// nothingLeft checks that no trace of a lab is left.
func nothingLeft(t testing.TB, stateDir, name string) {
	t.Helper()
	names, err := netns.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, name+".") {
			t.Errorf("network namespace %s is left", n)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "/"+name+".") {
		t.Errorf("a mount of %s is left", name)
	}
	if entries, err := os.ReadDir(stateDir + "/labs"); err == nil && len(entries) > 0 {
		t.Errorf("%s is left in the state directory", entries[0].Name())
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		// What can't be read has ended, or is a zombie's and empty.
		if env, _ := os.ReadFile(path); strings.Contains(string(env), "IPVSLAB_LAB="+name+"\x00") {
			t.Errorf("a process of the lab is left: %s", path)
		}
	}
}

func TestExistsAndLoad(t *testing.T) {
	probetest.Namespaces(t)
	stateRoot(t)
	p := plan(t, "nat.yaml", labName("exists"))
	if _, err := lab.Load(p.Name); !errors.Is(err, lab.ErrNotExist) {
		t.Errorf("Load before Up: %v", err)
	}
	up(t, p, lab.Options{NoServices: true})
	if _, err := lab.Up(t.Context(), p, lab.Options{}); !errors.Is(err, lab.ErrExists) {
		t.Errorf("second Up: got %v, want ErrExists", err)
	}
	l, err := lab.Load(p.Name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.Nodes[0].Name, l.Plan().Nodes[0].Name); diff != "" {
		t.Error(diff)
	}
	if _, err := l.Node("nobody"); !errors.Is(err, lab.ErrNoNode) {
		t.Errorf("Node: got %v, want ErrNoNode", err)
	}
	if names, err := lab.List(); err != nil || len(names) != 1 {
		t.Errorf("List: %v, %v", names, err)
	}
}

func TestSysctlRefused(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	for key, want := range map[string]error{
		"kernel.domainname":           rtnl.ErrNotNamespaced,
		"net.ipv4/../../kernel.panic": rtnl.ErrNotNamespaced,
		"net.ipv4.nonesuch":           rtnl.ErrNoSysctl,
	} {
		p := plan(t, "nat.yaml", labName("sysctl"))
		p.Nodes[1].Sysctls = append(p.Nodes[1].Sysctls, topology.Sysctl{Key: key, Value: "1"})
		_, err := lab.Up(t.Context(), p, lab.Options{NoServices: true})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), p.Nodes[1].Name) {
			t.Errorf("%s: got %v, want %v", key, err, want)
		}
		nothingLeft(t, dir, p.Name)
	}
}
