package ipvs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/lbtest"
)

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func mustApply(t *testing.T, table lb.Table, services ...lb.Service) {
	t.Helper()
	if err := table.Apply(t.Context(), lb.Diff(nil, services, lb.DiffOptions{})...); err != nil {
		t.Fatal(err)
	}
}

// TestProcAgrees reads the table without netlink and finds the same.
func TestProcAgrees(t *testing.T) {
	table := open(t)
	mustApply(t, table, lbtest.Examples()...)
	got, err := table.ProcTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []lb.ProcService
	for _, s := range lbtest.Examples() {
		want = append(want, asProc(s))
	}
	for i := range got {
		got[i].Ticks = 0 // of a length the kernel does not tell
	}
	byKey := cmpopts.SortSlices(func(a, b lb.ProcService) bool {
		return a.Key.String()+a.Scheduler < b.Key.String()+b.Scheduler
	})
	if diff := cmp.Diff(want, got, byKey, addrs, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-netlink +proc:\n%s", diff)
	}
}

// asProc leaves of a service what /proc/net/ip_vs shows.
func asProc(s lb.Service) lb.ProcService {
	p := lb.ProcService{Service: s.FullSpec(), Persistent: s.Persistent()}
	p.Timeout, p.Engine = 0, ""
	p.Flags &= lb.OnePacket
	if p.FWMark != 0 {
		if p.Family == lb.IPv6 && p.Persistent { // a length, its bytes the other way round, taken for a mask
			p.MaskBits, p.OddMask = 0, netip.AddrFrom4([4]byte{p.MaskBits})
		}
		p.Family = 0
	}
	for i, d := range p.Destinations {
		p.Destinations[i] = lb.Destination{DestKey: d.DestKey, Forward: d.Forward, Weight: d.Weight}
	}
	return p
}

// TestIpvsadmAgrees compares with what somebody else's program reads.
func TestIpvsadmAgrees(t *testing.T) {
	ns := newNamespace(t)
	table := openAt(t, ns)
	probetest.Ipvsadm(t)
	mustApply(t, table, lbtest.Examples()...)
	out := ipvsadm(t, ns, "-S", "-n")
	for _, want := range []string{
		"-a -t 10.0.0.1:80 -r 10.1.0.2:8080 -m -w 70000",
		"-a -t 10.0.0.1:80 -r 10.1.0.5:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum",
		"-A -u 10.0.0.1:53 -s wlc -o",
		"-A -t 10.0.0.1:443 -s sh -p 1 -M 255.255.255.0 -b sh-fallback,sh-port",
		"-A -t [fd00::1]:80 -s mh -p 3600 -M 64 -b mh-port",
		"-a -t [fd00::1]:80 -r 10.1.0.1:80 -i -w 1 --tun-type ipip",
		"-A -f 7 -6 -s nq -p 60 -M 1",
		"--pe sip",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("ipvsadm -S does not show %q:\n%s", want, out)
		}
	}
	ipvsadm(t, ns, "-A", "-f", "99", "-s", "lblcr", "-p", "77", "-M", "255.255.0.0")
	got, err := table.Get(t.Context(), lb.MarkKey(99, lb.IPv4))
	want := lb.Service{Key: lb.MarkKey(99, lb.IPv4), Scheduler: "lblcr", Timeout: 77 * time.Second, MaskBits: 16}
	if diff := cmp.Diff(want, got.FullSpec(), addrs); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func ipvsadm(t *testing.T, namespace string, args ...string) string {
	t.Helper()
	cmd := exec.Command("ipvsadm", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ns, err := netns.OpenPath(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err = ns.Start(cmd); err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out.String())
	}
	return out.String()
}

// TestTableStaysInItsNamespace uses two tables from many threads.
func TestTableStaysInItsNamespace(t *testing.T) {
	a, b := open(t), open(t)
	mustApply(t, a, lb.Service{Key: lb.MarkKey(1, lb.IPv4), Scheduler: "rr"})
	mustApply(t, b, lb.Service{Key: lb.MarkKey(2, lb.IPv4), Scheduler: "rr"})
	errs := make(chan error)
	for i := range 16 {
		table, mark := a, uint32(1)
		if i%2 == 0 {
			table, mark = b, 2
		}
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs <- holds(t.Context(), table, mark)
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func holds(ctx context.Context, table *ipvs.Table, mark uint32) error {
	services, err := table.List(ctx)
	if err != nil {
		return err
	}
	inProc, err := table.ProcTable(ctx)
	if err != nil {
		return err
	}
	if len(services) != 1 || services[0].FWMark != mark || len(inProc) != 1 || inProc[0].FWMark != mark {
		return fmt.Errorf("namespace with mark %d holds %v and %v", mark, services, inProc)
	}
	return nil
}

// TestDeadlines: a call whose time is up fails with the context's error, and
// the next call works.
func TestDeadlines(t *testing.T) {
	table := open(t)
	changes := lb.Diff(nil, thousand(), lb.DiffOptions{})
	for _, limit := range []time.Duration{time.Nanosecond, time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := table.Apply(ctx, changes...)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("apply within %v: %v", limit, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), limit)
		_, err = table.List(ctx)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("list within %v: %v", limit, err)
		}
		if err := table.Apply(t.Context(), lb.Change{Op: lb.Flush}); err != nil {
			t.Fatal(err)
		}
		if got, err := table.List(t.Context()); err != nil || len(got) != 0 {
			t.Fatalf("%d services, %v", len(got), err)
		}
	}
}

// TestDeadlineOfTheOtherSocket: time runs out while moby's socket is in use; the
// own one, whose deadline that was too, has to work in the next call.
func TestDeadlineOfTheOtherSocket(t *testing.T) {
	table := open(t)
	var changes []lb.Change
	for _, s := range thousand() {
		changes = append(changes, lb.Change{Op: lb.AddService, Service: s})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := table.Apply(ctx, changes...); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if got, err := table.List(t.Context()); err != nil || len(got) == len(changes) {
		t.Fatalf("%d services, %v", len(got), err)
	}
}

// TestConnections sees a connection through a service on the director itself.
func TestConnections(t *testing.T) {
	namespace := newNamespace(t)
	table := openAt(t, namespace)
	ns, err := netns.OpenPath(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	mustApply(t, table, lb.Service{
		Key: lb.AddrKey(lb.TCP, netip.MustParseAddr("127.0.0.9"), 80), Scheduler: "rr", Timeout: 100 * time.Second, MaskBits: 24,
		Destinations: []lb.Destination{{DestKey: lb.DestKey{Addr: netip.MustParseAddr("127.0.0.1"), Port: 80}, Weight: 1}},
	})
	var server net.Listener
	var client net.Conn
	err = ns.Do(func() (err error) {
		if server, err = net.Listen("tcp4", "127.0.0.1:80"); err != nil {
			return err
		}
		client, err = net.DialTimeout("tcp4", "127.0.0.9:80", 30*time.Second)
		return err
	})
	if server != nil {
		defer server.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conns, err := table.Conns(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(conns, func(a, b lb.Conn) int { return int(a.Client.Port()) - int(b.Client.Port()) })
	if len(conns) != 2 || !conns[0].Template() || conns[1].Template() {
		t.Fatalf("want a template and a connection: %v", conns)
	}
	if c := conns[1]; c.Client.String() != client.LocalAddr().String() || c.Virtual.String() != "127.0.0.9:80" ||
		c.Real.String() != "127.0.0.1:80" || c.State != "ESTABLISHED" || c.Expires < 800*time.Second {
		t.Errorf("connection: %v", c)
	}
	if c := conns[0]; c.Client.Addr().String() != "127.0.0.0" || c.Expires > 100*time.Second {
		t.Errorf("template: %v", c)
	}
	synced, err := table.SyncedConns(t.Context())
	if err != nil || len(synced) != 2 || synced[0].Origin != "LOCAL" {
		t.Errorf("with origin: %v, %v", synced, err)
	}
	d, err := table.Destinations(t.Context(), lb.AddrKey(lb.TCP, netip.MustParseAddr("127.0.0.9"), 80))
	if err != nil || d[0].Counters.Active != 1 {
		t.Errorf("destination: %+v, %v", d, err)
	}
}

// TestNoModprobe: moby neither runs modprobe nor logs; in a process of its own,
// since moby would do so once.
func TestNoModprobe(t *testing.T) {
	if os.Getenv("IPVS_TEST_CHILD") != "" {
		mustApply(t, open(t), lb.Service{Key: lb.MarkKey(1, lb.IPv4), Scheduler: "rr"})
		return
	}
	open(t) // skips without IPVS
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "modprobe"), []byte("#!/bin/sh\n: > "+dir+"/ran\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestNoModprobe$")
	cmd.Env = append(os.Environ(), "IPVS_TEST_CHILD=1", "PATH="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("level=")) {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("modprobe ran")
	}
}

// TestControllerInTheKernel puts the pieces together.
func TestControllerInTheKernel(t *testing.T) {
	table := open(t)
	c := lb.NewController(table, lb.ControllerOptions{})
	for _, desired := range [][]lb.Service{lbtest.Examples(), lbtest.Examples()[:3], thousand()[:100], nil} {
		if _, err := c.Reconcile(t.Context(), desired); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Reconcile(t.Context(), desired); err != nil || len(r.Done) != 0 {
			t.Fatalf("second time: %v, %v", r.Done, err)
		}
		if r, err := c.Update(t.Context(), desired); err != nil || len(r.Done) != 0 {
			t.Fatalf("update: %v, %v", r.Done, err)
		}
	}
}

// TestOneWeightIsOneMessage changes one weight among 10,000 destinations in the
// kernel and sees what goes to it: one write, and that one service read back.
func TestOneWeightIsOneMessage(t *testing.T) {
	table := open(t)
	c := lb.NewController(table, lb.ControllerOptions{})
	desired := thousand()
	if _, err := c.Reconcile(t.Context(), desired); err != nil {
		t.Fatal(err)
	}
	want := []string{"set-dest", "get-service", "get-dest dump"} // of one service's ten destinations
	tapped := func(what string, fn func() (lb.Report, error)) {
		t.Helper()
		var sent []string
		stop := ipvs.Tap(func(request string) { sent = append(sent, request) })
		report, err := fn()
		stop()
		if err != nil || len(report.Done) != 1 {
			t.Fatalf("%s: %d changes, %v", what, len(report.Done), err)
		}
		if d := cmp.Diff(want, sent); d != "" {
			t.Errorf("%s sends (-want +sent):\n%s", what, d)
		}
	}
	s := &desired[500]
	tapped("SetWeight", func() (lb.Report, error) {
		return c.SetWeight(t.Context(), s.Key, s.Destinations[3].DestKey, 7)
	})
	s.Destinations[3].Weight = 7
	s.Destinations[4].Weight = 9
	tapped("Update", func() (lb.Report, error) { return c.Update(t.Context(), desired) })
	got, err := table.Get(t.Context(), s.Key)
	if err != nil {
		t.Fatal(err)
	}
	if left := lb.Differences([]lb.Service{got}, []lb.Service{*s}, lb.DiffOptions{}); len(left) > 0 {
		t.Error(left)
	}
}
