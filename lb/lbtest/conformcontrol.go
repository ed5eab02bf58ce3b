package lbtest

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipvslab/ipvslab/lb"
)

func timeouts(t *testing.T, table lb.Table) {
	want := lb.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second}
	for _, set := range []lb.Timeouts{
		{},
		{TCP: 10 * time.Second},
		{TCPFin: 20 * time.Second, UDP: 30 * time.Second},
		{TCP: time.Hour, TCPFin: time.Hour, UDP: time.Hour},
	} {
		if err := table.SetTimeouts(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		want = mergeTimeouts(want, set)
		got, err := table.Timeouts(t.Context())
		if err != nil || got != want {
			t.Fatalf("after setting %+v: got %+v, %v; want %+v", set, got, err, want)
		}
	}
}

func information(t *testing.T, table lb.Table) {
	info, err := table.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v := info.VersionString(); v != "1.2.1" {
		t.Errorf("version %s, want 1.2.1, as since 2.6", v)
	}
	if n := info.ConnTableSize; n < 256 || n&(n-1) != 0 {
		t.Errorf("connection table of %d buckets, want a power of two", n)
	}
}

func zero(t *testing.T, table lb.Table) {
	mustApply(t, table, changesFor(Examples()...)...)
	if err := table.Zero(t.Context()); err != nil {
		t.Error(err)
	}
	for _, s := range Examples() {
		if err := table.Zero(t.Context(), s.Key); err != nil {
			t.Error(err)
		}
	}
	expect(t, table, Examples()...)
}

func daemons(t *testing.T, table lb.Table) {
	ctx := t.Context()
	list := func(want ...lb.SyncDaemon) {
		t.Helper()
		got, err := table.Daemons(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if i < len(got) && w.MaxLen == 0 { // the default depends on the interface
				got[i].MaxLen = 0
			}
		}
		if diff := cmp.Diff(want, got, addrs, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("daemons differ (-want +got):\n%s", diff)
		}
	}
	list()
	if err := table.StopDaemon(ctx, lb.SyncMaster); !errors.Is(err, lb.ErrNoDaemon) {
		t.Errorf("stop without a start: %v", err)
	}
	if err := table.StartDaemon(ctx, lb.SyncDaemon{Role: lb.SyncMaster, Interface: "missing"}); err == nil {
		t.Error("started on an interface that does not exist")
	}
	backup := lb.SyncDaemon{Role: lb.SyncBackup, Interface: "lo", ID: 7, MaxLen: 1000, Group: netip.MustParseAddr("224.0.0.99"), Port: 9999, TTL: 3}
	if err := table.StartDaemon(ctx, backup); err != nil {
		t.Fatal(err)
	}
	backup.MaxLen = 1024
	list(backup)
	if err := table.StartDaemon(ctx, backup); !errors.Is(err, lb.ErrDaemonRunning) {
		t.Errorf("second start: %v", err)
	}
	master := lb.SyncDaemon{Role: lb.SyncMaster, Interface: "lo", ID: 255}
	if err := table.StartDaemon(ctx, master); err != nil {
		t.Fatal(err)
	}
	master.Group, master.Port, master.TTL = netip.MustParseAddr("224.0.0.81"), 8848, 1
	list(master, backup)
	refuseMixedFamilies(t, table)
	for _, r := range []lb.SyncRole{lb.SyncBackup, lb.SyncMaster} {
		if err := table.StopDaemon(ctx, r); err != nil {
			t.Error(err)
		}
	}
	list()
}

func refuseMixedFamilies(t *testing.T, table lb.Table) {
	t.Helper()
	mustApply(t, table, lb.Change{Op: lb.AddService, Service: lb.Service{Key: web, Scheduler: "rr"}})
	mixed := lb.Destination{DestKey: at("fd01::1", 80), Forward: lb.TUN, Weight: 1}
	if err := table.Apply(t.Context(), lb.DestChange(lb.AddDestination, web, mixed)); !errors.Is(err, lb.ErrInvalid) {
		t.Errorf("mixed families beside a sync daemon: %v", err)
	}
}

func closed(t *testing.T, table lb.Table) {
	for range 2 {
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := table.List(t.Context()); !errors.Is(err, lb.ErrClosed) {
		t.Errorf("list: %v", err)
	}
	if err := table.Apply(t.Context(), lb.Change{Op: lb.Flush}); !errors.Is(err, lb.ErrClosed) {
		t.Errorf("apply: %v", err)
	}
}

// cancelled: a context that has ended changes nothing, and the table goes on working.
func cancelled(t *testing.T, table lb.Table) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := table.Apply(ctx, changesFor(Examples()...)...); !errors.Is(err, context.Canceled) {
		t.Errorf("apply: %v", err)
	}
	if _, err := table.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
	if _, err := table.Timeouts(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("timeouts: %v", err)
	}
	expect(t, table)
	mustApply(t, table, changesFor(Examples()...)...)
	expect(t, table, Examples()...)
}
