package lb_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/lbtest"
	"pgregory.net/rapid"
)

var web = lb.AddrKey(lb.TCP, netip.MustParseAddr("10.0.0.1"), 80)

func dest(host byte, weight int32) lb.Destination {
	return lb.Destination{DestKey: lb.DestKey{Addr: netip.AddrFrom4([4]byte{10, 1, 0, host}), Port: 80}, Weight: weight}
}

func webService(d ...lb.Destination) lb.Service {
	return lb.Service{Key: web, Scheduler: "rr", Destinations: d}
}

func reconcile(t *testing.T, c *lb.Controller, desired ...lb.Service) lb.Report {
	t.Helper()
	r, err := c.Reconcile(t.Context(), desired)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestControllerReconciles(t *testing.T) {
	table := new(lbtest.Fake)
	c := lb.NewController(table, lb.ControllerOptions{})
	for _, desired := range [][]lb.Service{lbtest.Examples(), lbtest.Examples()[2:5], nil, {webService(dest(1, 1))}} {
		reconcile(t, c, desired...)
		sameTable(t, desired, list(t, table))
		if r := reconcile(t, c, desired...); len(r.Done) != 0 {
			t.Errorf("second time: %v", r.Done)
		}
	}
}

func TestControllerLeavesForeignServicesAlone(t *testing.T) {
	foreign := lbtest.Examples()[1:]
	table := new(lbtest.Fake)
	apply(t, table, lb.Diff(nil, foreign, lb.DiffOptions{}))
	c := lb.NewController(table, lb.ControllerOptions{})
	if r := reconcile(t, c, webService()); len(r.Foreign) != len(foreign) {
		t.Errorf("foreign: %v", r.Foreign)
	}
	reconcile(t, c)
	sameTable(t, foreign, list(t, table))
	_, err := c.Apply(t.Context(), lb.Change{Op: lb.DeleteService, Service: foreign[0]})
	if !errors.Is(err, lb.ErrForeign) {
		t.Errorf("deleting a foreign service: %v", err)
	}
	if _, err := c.Apply(t.Context(), lb.Change{Op: lb.Flush}); err == nil {
		t.Error("flushed")
	}
	sameTable(t, foreign, list(t, table))

	reconcile(t, lb.NewController(table, lb.ControllerOptions{Foreign: lb.TakeOver}), webService())
	sameTable(t, []lb.Service{webService()}, list(t, table))
}

func TestControllerReportsRefusalsAndWithholdsDeletions(t *testing.T) {
	table := new(lbtest.Fake)
	c := lb.NewController(table, lb.ControllerOptions{})
	reconcile(t, c, webService(dest(1, 1)))
	table.Refuse = func(ch lb.Change) error {
		if ch.Op == lb.AddDestination {
			return lb.ErrInvalid
		}
		return nil
	}
	r, err := c.Reconcile(t.Context(), []lb.Service{webService(dest(2, 1))})
	if !errors.Is(err, lb.ErrInvalid) || !strings.Contains(err.Error(), "0 of 2 changes made, 1 withheld") {
		t.Errorf("error: %v", err)
	}
	if len(r.Failed) != 1 || len(r.Withheld) != 1 || r.Withheld[0].Op != lb.DeleteDestination {
		t.Errorf("report: %+v", r)
	}
	sameTable(t, []lb.Service{webService(dest(1, 1))}, list(t, table))
	table.Refuse = nil
	reconcile(t, c, webService(dest(2, 1)))
	sameTable(t, []lb.Service{webService(dest(2, 1))}, list(t, table))
}

func TestControllerReadsEveryWriteBack(t *testing.T) {
	for _, op := range []lb.Op{lb.AddService, lb.EditService, lb.DeleteService, lb.AddDestination, lb.EditDestination, lb.DeleteDestination} {
		t.Run(op.String(), func(t *testing.T) {
			table := new(lbtest.Fake)
			c := lb.NewController(table, lb.ControllerOptions{})
			gone := lb.Service{Key: lb.MarkKey(1, lb.IPv4), Scheduler: "rr"}
			if op == lb.AddService {
				reconcile(t, c, gone)
			} else {
				reconcile(t, c, webService(dest(1, 1), dest(2, 1)), gone)
			}
			table.Ignore = func(ch lb.Change) bool { return ch.Op == op }
			want := webService(dest(1, 7), dest(3, 1))
			want.Scheduler = "wrr"
			if op == lb.AddService {
				want.Destinations = nil
			}
			for _, do := range []func(context.Context, []lb.Service) (lb.Report, error){c.Update, c.Reconcile} {
				if _, err := do(t.Context(), []lb.Service{want}); !errors.Is(err, lb.ErrNotAsWritten) {
					t.Errorf("a table that ignores %s: %v", op, err)
				}
			}
			table.Ignore = nil
			if _, err := c.Update(t.Context(), []lb.Service{want}); err != nil {
				t.Fatal(err)
			}
			sameTable(t, []lb.Service{want}, list(t, table))
		})
	}
}

// One weight among 10,000 destinations: one message, and no look at the whole table.
func TestControllerChangesOneWeightCheaply(t *testing.T) {
	var desired []lb.Service
	for i := range 1000 {
		s := webService()
		s.Port = uint16(1000 + i)
		for host := range byte(10) {
			s.Destinations = append(s.Destinations, dest(host+1, 1))
		}
		desired = append(desired, s)
	}
	table := new(lbtest.Fake)
	c := lb.NewController(table, lb.ControllerOptions{})
	reconcile(t, c, desired...)
	writes, lists := table.Writes(), table.Lists()

	desired[500].Destinations[3].Weight = 5
	if _, err := c.Update(t.Context(), desired); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetWeight(t.Context(), desired[7].Key, desired[7].Destinations[0].DestKey, 0); err != nil {
		t.Fatal(err)
	}
	desired[7].Destinations[0].Weight = 0
	if w, l := table.Writes()-writes, table.Lists()-lists; w != 2 || l != 0 {
		t.Errorf("two weights took %d writes and %d dumps", w, l)
	}
	if left := lb.Diff(list(t, table), desired, lb.DiffOptions{Foreign: lb.TakeOver}); len(left) != 0 {
		t.Errorf("still to do: %v", left)
	}
}

// A drain is a weight of 0, a wait, and a removal; each is a call of its own.
func TestControllerDrains(t *testing.T) {
	table := new(lbtest.Fake)
	c := lb.NewController(table, lb.ControllerOptions{})
	reconcile(t, c, webService(dest(1, 1), dest(2, 1)))
	if _, err := c.SetWeight(t.Context(), web, dest(1, 0).DestKey, 0); err != nil {
		t.Fatal(err)
	}
	sameTable(t, []lb.Service{webService(dest(1, 0), dest(2, 1))}, list(t, table))
	if _, err := c.Apply(t.Context(), lb.DestChange(lb.DeleteDestination, web, dest(1, 0))); err != nil {
		t.Fatal(err)
	}
	sameTable(t, []lb.Service{webService(dest(2, 1))}, list(t, table))
	if _, err := c.SetWeight(t.Context(), web, dest(1, 0).DestKey, 1); !errors.Is(err, lb.ErrNoDestination) {
		t.Errorf("weight of what is gone: %v", err)
	}
}

func TestControllerRefusesNonsenseBeforeWriting(t *testing.T) {
	table := new(lbtest.Fake)
	c := lb.NewController(table, lb.ControllerOptions{})
	bad := webService(dest(1, -1), dest(1, 1))
	bad.Scheduler = ""
	_, err := c.Reconcile(t.Context(), []lb.Service{webService(), bad})
	if err == nil || table.Writes() != 0 {
		t.Fatalf("got %v after %d writes", err, table.Writes())
	}
	for _, part := range []string{"desired twice", "scheduler is missing", "given twice", "weight -1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
}

// TestSuccessorConverges kills a controller after any number of messages; a new
// one that is told the same finishes the work.
func TestSuccessorConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, desired := anyServices().Draw(t, "before"), anyServices().Draw(t, "desired")
		table := new(lbtest.Fake)
		first := lb.NewController(table, lb.ControllerOptions{})
		if _, err := first.Reconcile(context.Background(), before); err != nil {
			t.Fatal(err)
		}
		owned := first.Owned()
		left := rapid.IntRange(0, 10).Draw(t, "messages until the kill")
		table.Ignore = func(lb.Change) bool { left--; return left < 0 }
		_, _ = first.Reconcile(context.Background(), desired) // its last words are lost
		table.Ignore = nil

		second := lb.NewController(table, lb.ControllerOptions{Owned: owned})
		if _, err := second.Reconcile(context.Background(), desired); err != nil {
			t.Fatal(err)
		}
		sameTable(t, desired, list(t, table))
		if got := second.Owned(); len(got) != len(desired) {
			t.Fatalf("owned: %v", got)
		}
	})
}
