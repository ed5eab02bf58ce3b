package lb_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/lbtest"
	"pgregory.net/rapid"
)

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// anyDestination draws from few keys, so that two lists have many in common.
func anyDestination(f lb.Family) *rapid.Generator[lb.Destination] {
	return rapid.Custom(func(t *rapid.T) lb.Destination {
		host := rapid.IntRange(1, 5).Draw(t, "host")
		a := netip.AddrFrom4([4]byte{10, 1, 0, byte(host)})
		if f == lb.IPv6 {
			a = netip.MustParseAddr(fmt.Sprintf("fd01::%d", host))
		}
		d := lb.Destination{
			DestKey: lb.DestKey{Addr: a, Port: uint16(rapid.IntRange(80, 81).Draw(t, "port"))},
			Forward: rapid.SampledFrom([]lb.Forward{lb.NAT, lb.DR, lb.TUN}).Draw(t, "forward"),
			Weight:  int32(rapid.IntRange(0, 2).Draw(t, "weight")),
			Upper:   uint32(rapid.IntRange(0, 1).Draw(t, "upper")),
		}
		if d.Forward == lb.TUN && rapid.Bool().Draw(t, "gue") {
			d.Tunnel = lb.Tunnel{Type: lb.GUE, Port: 6080}
		}
		return d
	})
}

func anyService() *rapid.Generator[lb.Service] {
	return rapid.Custom(func(t *rapid.T) lb.Service {
		s := lb.Service{
			Key: rapid.SampledFrom([]lb.Key{
				lb.AddrKey(lb.TCP, netip.MustParseAddr("10.0.0.1"), 80), lb.AddrKey(lb.UDP, netip.MustParseAddr("10.0.0.1"), 80),
				lb.AddrKey(lb.TCP, netip.MustParseAddr("fd00::1"), 80), lb.MarkKey(1, lb.IPv4), lb.MarkKey(1, lb.IPv6),
			}).Draw(t, "key"),
			Scheduler: rapid.SampledFrom([]string{"rr", "wrr", "sh"}).Draw(t, "scheduler"),
			Flags:     lb.Flags(rapid.IntRange(0, 1).Draw(t, "sched1")) * lb.Sched1,
			Timeout:   time.Duration(rapid.IntRange(0, 2).Draw(t, "timeout")) * time.Second,
			MaskBits:  rapid.SampledFrom([]uint8{0, 24, 32}).Draw(t, "mask"),
		}
		s.Destinations = rapid.SliceOfNDistinct(anyDestination(s.Family), 0, 5,
			func(d lb.Destination) lb.DestKey { return d.DestKey }).Draw(t, "destinations")
		return s
	})
}

func anyServices() *rapid.Generator[[]lb.Service] {
	return rapid.SliceOfNDistinct(anyService(), 0, 5, func(s lb.Service) lb.Key { return s.Key })
}

func apply(t require, table lb.Table, changes []lb.Change) {
	if err := table.Apply(context.Background(), changes...); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

type require interface {
	Fatalf(format string, args ...any)
}

func list(t require, table lb.Table) []lb.Service {
	got, err := table.List(context.Background())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return got
}

// sameTable compares, whatever the order of services and of destinations.
func sameTable(t require, want, got []lb.Service) {
	full := func(in []lb.Service) []lb.Service {
		out := make([]lb.Service, len(in))
		for i, s := range in {
			out[i] = s.FullSpec()
		}
		return out
	}
	diff := cmp.Diff(full(want), full(got), addrs, cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b lb.Service) bool { return a.Key.String() < b.Key.String() }),
		cmpopts.SortSlices(func(a, b lb.Destination) bool { return a.DestKey.String() < b.DestKey.String() }))
	if diff != "" {
		t.Fatalf("table differs (-want +got):\n%s", diff)
	}
}

// differing counts the objects of which one side has none or another: no
// sequence of changes that keeps what stays can be shorter, since each change
// touches one object, and a service takes its destinations along when deleted.
func differing(a, b []lb.Service) int {
	n := 0
	inB := index(b)
	for _, s := range a {
		if _, ok := inB[s.Key]; !ok {
			n++
		}
	}
	inA := index(a)
	for _, want := range b {
		got := inA[want.Key]
		if x, y := got.Spec(), want.Spec(); !cmp.Equal(x, y, addrs) {
			n++
		}
		have, wanted := destinations(got), destinations(want)
		for k, d := range wanted {
			if old, ok := have[k]; !ok || old != d {
				n++
			}
		}
		for k := range have {
			if _, ok := wanted[k]; !ok {
				n++
			}
		}
	}
	return n
}

func index(services []lb.Service) map[lb.Key]lb.Service {
	out := make(map[lb.Key]lb.Service)
	for _, s := range services {
		out[s.Key] = s
	}
	return out
}

func destinations(s lb.Service) map[lb.DestKey]lb.Destination {
	out := make(map[lb.DestKey]lb.Destination)
	for _, d := range s.FullSpec().Destinations {
		out[d.DestKey] = d
	}
	return out
}

func TestDiffLeadsToTheDesiredTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyServices().Draw(t, "current"), anyServices().Draw(t, "desired")
		table := new(lbtest.Fake)
		takeOver := lb.DiffOptions{Foreign: lb.TakeOver}
		apply(t, table, lb.Diff(nil, a, takeOver))
		sameTable(t, a, list(t, table))

		changes := lb.Diff(list(t, table), b, takeOver)
		if want := differing(a, b); len(changes) != want {
			t.Fatalf("%d changes, want %d:\n%v", len(changes), want, changes)
		}
		apply(t, table, changes)
		sameTable(t, b, list(t, table))
		for _, arg := range [][]lb.Service{b, list(t, table)} {
			if again := lb.Diff(arg, b, takeOver); len(again) != 0 {
				t.Fatalf("not idempotent: %v", again)
			}
		}
	})
}

func TestDiffKeepsForeignServices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyServices().Draw(t, "current"), anyServices().Draw(t, "desired")
		owned := make(map[lb.Key]bool)
		want := slices.Clone(b)
		for _, s := range a {
			if rapid.Bool().Draw(t, "owned") {
				owned[s.Key] = true
			} else if _, desired := index(b)[s.Key]; !desired {
				want = append(want, s)
			}
		}
		table := new(lbtest.Fake)
		apply(t, table, lb.Diff(nil, a, lb.DiffOptions{}))
		apply(t, table, lb.Diff(list(t, table), b, lb.DiffOptions{Owned: owned}))
		sameTable(t, want, list(t, table))
	})
}

// TestDiffNeverEmptiesAServiceThatStays plays the changes one by one, between
// any two services of up to three destinations with weight 0 or 1.
func TestDiffNeverEmptiesAServiceThatStays(t *testing.T) {
	var all []lb.Service
	for n := range 27 {
		var list []lb.Destination
		for host, state := byte(1), n; host <= 3; host, state = host+1, state/3 {
			if state%3 != 0 {
				list = append(list, dest(host, int32(state%3-1)))
			}
		}
		all = append(all, webService(list...))
	}
	for _, a := range all {
		for _, b := range all {
			if usable(a) && usable(b) {
				staysUsable(t, a, b)
			}
		}
	}
}

func staysUsable(t *testing.T, a, b lb.Service) {
	t.Helper()
	table := new(lbtest.Fake)
	apply(t, table, lb.Diff(nil, []lb.Service{a}, lb.DiffOptions{}))
	for _, c := range lb.Diff([]lb.Service{a}, []lb.Service{b}, lb.DiffOptions{}) {
		apply(t, table, []lb.Change{c})
		if now := list(t, table); !usable(now[0]) {
			t.Errorf("from %v to %v: %v leaves no usable destination", a.Destinations, b.Destinations, c)
		}
	}
}

func usable(s lb.Service) bool {
	return slices.ContainsFunc(s.Destinations, func(d lb.Destination) bool { return d.Weight > 0 })
}

func TestDiffAddsInTheOrderGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyServices().Draw(t, "desired")
		table := new(lbtest.Fake)
		apply(t, table, lb.Diff(nil, b, lb.DiffOptions{}))
		for _, s := range list(t, table) {
			if diff := cmp.Diff(index(b)[s.Key].FullSpec(), s.FullSpec(), addrs, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("order lost (-want +got):\n%s", diff)
			}
		}
	})
}
