package oracle_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/replay"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
	"github.com/ipvslab/ipvslab/topology"
)

// TestFailureCanBeReplayed plants a defect in the model: it follows the rules of
// another kernel. The random tester must find it, and what it prints must, read
// as a user's files, differ at the same event; and with the right rules not at
// all.
func TestFailureCanBeReplayed(t *testing.T) {
	needKernel(t, probe.IPVS)
	right := kernelVariant(t)
	wrong := oracle.Variant{Overhead: oracle.ActiveTotal, Overload: oracle.OnCrossing}
	if right == wrong {
		wrong = oracle.Variant{Overhead: oracle.ActiveInactive, Overload: oracle.OnBind}
	}
	setFlags(t, map[string]string{"rapid.seed": "1", "rapid.nofailfile": "true", "rapid.shrinktime": "2s", "rapid.checks": "2000"})
	w := world{[]string{"lc", "wlc"}, []lb.Protocol{lb.TCP}, false, 2} // small, so that it is quick
	found := &failure{}
	found.run(func() {
		rapid.Check(found, func(t *rapid.T) { randomRun(t, w, wrong) })
	})
	message, topologyText, events := found.files(t)
	t.Logf("found, and shortened to %d events:\n%s", strings.Count(events, "\n"), message)

	in := asUser(t, topologyText, events)
	out, err := replay.Play(context.Background(), in)
	if err != nil || out.Difference == nil {
		t.Fatalf("replayed without a difference, %v", err)
	}
	if want := fmt.Sprintf("at %q", out.Difference.Event); !strings.Contains(message, want) {
		t.Errorf("the replay differs %s, the tester's run did not:\n%s", want, message)
	}
	in.Variant.Overhead, in.Variant.Overload = right.Overhead, right.Overload
	if out, err = replay.Play(context.Background(), in); err != nil || out.Difference != nil {
		t.Errorf("with the right rules: %v, %v", out.Difference, err)
	}
}

// asUser reads the printed files as `ipvslab replay` does.
func asUser(t *testing.T, topologyText, events string) predict.Input {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(topologyText), 0o644); err != nil {
		t.Fatal(err)
	}
	plan, _, err := topology.Open(path, "")
	if err != nil {
		t.Fatalf("%v\n%s", err, topologyText)
	}
	in, err := predict.ParseFor(predict.Input{Service: plan.Services[0].Spec}, strings.NewReader(events))
	if err != nil {
		t.Fatalf("%v\n%s", err, events)
	}
	return in
}

// setFlags sets flags of rapid's for the rest of a test.
func setFlags(t *testing.T, values map[string]string) {
	for name, v := range values {
		f := flag.Lookup(name)
		old := f.Value.String()
		if err := f.Value.Set(v); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { must(t, f.Value.Set(old)) })
	}
}

// failure stands in for the test that is expected to fail.
type failure struct {
	rapid.TB
	failed bool
	text   strings.Builder
}

var errStop = errors.New("the test has ended")

// run ends where the test ends itself.
func (f *failure) run(test func()) {
	defer func() {
		if r := recover(); r != nil && r != errStop { //nolint:errorlint // the very value
			panic(r)
		}
	}()
	test()
}

func (f *failure) Helper()                      {}
func (f *failure) Name() string                 { return "TestPlanted" }
func (f *failure) Failed() bool                 { return f.failed }
func (f *failure) Fail()                        { f.failed = true }
func (f *failure) FailNow()                     { f.failed = true; panic(errStop) }
func (f *failure) Logf(s string, args ...any)   { fmt.Fprintf(&f.text, s+"\n", args...) }
func (f *failure) Log(args ...any)              { fmt.Fprintln(&f.text, args...) }
func (f *failure) Errorf(s string, args ...any) { f.Logf(s, args...); f.Fail() }
func (f *failure) Error(args ...any)            { f.Log(args...); f.Fail() }
func (f *failure) Fatalf(s string, args ...any) { f.Logf(s, args...); f.FailNow() }
func (f *failure) Fatal(args ...any)            { f.Log(args...); f.FailNow() }

// files takes the two files out of what the tester has printed last.
func (f *failure) files(t *testing.T) (message, topologyText, events string) {
	t.Helper()
	all := f.text.String()
	start := strings.LastIndex(all, replay.TopologyTitle)
	if !f.failed || start < 0 {
		t.Fatalf("the tester found nothing:\n%s", all)
	}
	topologyText, rest, _ := strings.Cut(all[start+len(replay.TopologyTitle):], replay.EventsTitle)
	events, _, _ = strings.Cut(rest, replay.EndTitle)
	return all[:start], topologyText, events
}

// TestFilesOfAScript: whatever the tester may come by, its files are valid and
// mean the same.
func TestFilesOfAScript(t *testing.T) {
	w := world{schedulers: oracle.Schedulers(), servers: 5}
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		family := rapid.SampledFrom([]lb.Family{lb.IPv4, lb.IPv6}).Draw(r, "family")
		protocol := rapid.SampledFrom([]lb.Protocol{lb.TCP, lb.UDP}).Draw(r, "protocol")
		in := predict.Input{Service: lb.Service{Key: lb.AddrKey(protocol, kernelVIP(family, 1), 80)}}
		if rapid.Bool().Draw(r, "firewall mark") {
			in.Service.Key = lb.MarkKey(7, family)
		}
		w.drawService(r, &in.Service, oracle.Settings{})
		in.Service.Destinations = w.drawDests(r, family)
		in.Events = append(in.Events, predict.Event{Verb: predict.Remove, Dest: kernelServer(family, 6, 0)})
		files := replay.ToFiles(in)
		path := filepath.Join(dir, "lab.yaml")
		if err := os.WriteFile(path, []byte(files.Topology), 0o644); err != nil {
			r.Fatal(err)
		}
		plan, problems, err := topology.Open(path, "")
		if err != nil {
			r.Fatalf("%v %v\n%s", err, problems, files.Topology)
		}
		again, err := predict.ParseFor(predict.Input{Service: plan.Services[0].Spec}, strings.NewReader(files.Events))
		if err != nil {
			r.Fatal(err)
		}
		if again.Events[0].Verb == predict.EditService { // what no topology file allows
			dests := again.Service.Destinations
			again.Service, again.Events = again.Events[0].Service, again.Events[1:]
			again.Service.Destinations = dests
		}
		if in.String() != again.String() {
			r.Fatalf("%s\nbecame\n%s\nby\n%s", in, again, files.Topology)
		}
	})
}
