package probe

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
)

func TestReportMissing(t *testing.T) {
	r := Report{Kernel: "6.1.0", Features: []Feature{
		yes("link:veth", ""),
		no("ipvs", "no family", remedyIPVS),
		no("sched:rr", "no family", remedyIPVS),
		unknown("link:dummy", "not permitted"),
	}}
	got := names(r.Missing("link:veth", "link:dummy", "ipvs", "link:never"))
	if diff := cmp.Diff([]string{"link:dummy", "ipvs", "link:never"}, got); diff != "" {
		t.Errorf("Missing (-want +got):\n%s", diff)
	}
	if err := r.Require("link:veth"); err != nil {
		t.Errorf("Require of what is there: %v", err)
	}
	var missing *MissingError
	err := r.Require("ipvs", "sched:rr")
	if !errors.As(err, &missing) {
		t.Fatalf("Require of what is not there: %v, want a *MissingError", err)
	}
	want := "kernel 6.1.0 lacks ipvs (no family), sched:rr (no family): " + remedyIPVS
	if err.Error() != want {
		t.Errorf("message is\n%s, want\n%s", err, want)
	}
	err = &MissingError{Kernel: "6.1.0", Missing: []Feature{
		no(NetAdmin, "uid 1", remedyPrivilege), unknown("link:veth", "not tried"), no("ipvs", "no family", remedyIPVS), no(SysAdmin, "uid 1", remedyPrivilege),
	}}
	want = "kernel 6.1.0 lacks privilege:net-admin (uid 1), link:veth (not tried), ipvs (no family), privilege:sys-admin (uid 1): " +
		"run as root; load it as root (modprobe ip_vs), or use a guest kernel (--kernel auto)"
	if err.Error() != want {
		t.Errorf("message is\n%s, want\n%s", err, want)
	}
}

func TestReportSurvivesJSON(t *testing.T) {
	want := Report{Kernel: "6.1.0", Arch: "amd64", UID: 1, Features: []Feature{
		yes("a", ""), no("b", "why", "remedy"), unknown("c", "why"),
	}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after JSON (-want +got):\n%s", diff)
	}
}

func TestOnlyKeepsTheOrderAndOwnsUpToUnknownNames(t *testing.T) {
	r := Only(context.Background(), "tmp:exec", "no-such-thing", "kvm", "link:none", "kvm")
	if diff := cmp.Diff([]string{"tmp:exec", "no-such-thing", "kvm", "kvm", "link:none"}, names(r.Features)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if f := r.Get("no-such-thing"); f.State != Unknown {
		t.Errorf("%s, want unknown", f)
	}
}

func TestOnlyStopsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range Only(ctx, All()...).Features {
		if f.State == Unknown && f.Why == "" {
			t.Errorf("%s is unknown without a reason", f.Name)
		}
	}
}

// The host's namespaces, links and children must be as they were.
func TestProbeLeavesNothingBehind(t *testing.T) {
	Probe(context.Background()) // what modules bring with them when the kernel loads them is its own
	before := traces(t)
	// An earlier, cancelled probe may not have ended yet.
	before["children"] = nil
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	before["namespaces"] = []string{own}
	r := Probe(context.Background())
	for _, f := range r.Features {
		t.Log(f)
		if f.State != Yes && f.Why == "" {
			t.Errorf("%s: %s without evidence", f.Name, f.State)
		}
	}
	if diff := cmp.Diff(names(r.Features), All()); diff != "" {
		t.Errorf("features probed (-got +want):\n%s", diff)
	}
	// The thread that was in the namespace ends on its own time.
	gomega.NewWithT(t).Eventually(func() string { return cmp.Diff(before, traces(t)) }).
		WithTimeout(30*time.Second).WithPolling(time.Millisecond).
		Should(gomega.BeEmpty(), "the probe left traces (-before +after)")
}

// In a kernel known to have it all, everything a lab needs must be found:
// the environment variable says that this is one.
func TestProbeOnAKernelThatHasIPVS(t *testing.T) {
	if os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1" && !Only(context.Background(), IPVS).Has(IPVS) {
		t.Skip("no IPVS here: ", Only(context.Background(), IPVS).Get(IPVS).Why)
	}
	need := []string{NetAdmin, SysAdmin, IPVS, "qdisc:netem", SkbEdit, "socket:packet"}
	for _, s := range Schedulers {
		if s != "twos" { // compiled out of most kernels
			need = append(need, Scheduler(s))
		}
	}
	for _, l := range LinkTypes {
		need = append(need, Link(l))
	}
	if err := Probe(context.Background()).Require(need...); err != nil {
		t.Error(err)
	}
	r := Only(context.Background(), Scheduler("nonesuch"), Link("nonesuch"))
	if f := r.Get("sched:nonesuch"); f.State != No {
		t.Errorf("%s, want no", f)
	}
}

func BenchmarkOnly(b *testing.B) {
	need := []string{IPVS, Link("veth"), Link("bridge"), Scheduler("rr"), Link("ipip"), Scheduler("wrr")}
	for b.Loop() {
		Only(context.Background(), need...)
	}
}

func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		Probe(context.Background())
	}
}

// traces is what a careless probe would change: which network namespaces this
// process's threads are in, its children, and the links of its namespace.
func traces(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	spaces, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, s := range spaces {
		if ns, err := os.Readlink(s); err == nil && !slices.Contains(out["namespaces"], ns) {
			out["namespaces"] = append(out["namespaces"], ns)
		}
	}
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		data, _ := os.ReadFile(l)
		out["children"] = append(out["children"], strings.Fields(string(data))...)
	}
	links, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(links)) {
		name, _, _ := strings.Cut(line, ":")
		out["links"] = append(out["links"], name)
	}
	slices.Sort(out["namespaces"])
	return out
}

func names(features []Feature) []string {
	var out []string
	for _, f := range features {
		out = append(out, f.Name)
	}
	return out
}
