package ipvs_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ipvslab/ipvslab/lb"
)

// thousand is the table of the project's figures: 1,000 services with 10 real
// servers each.
func thousand() []lb.Service {
	services := make([]lb.Service, 1000)
	for i := range services {
		s := lb.Service{Key: lb.AddrKey(lb.TCP, netip.MustParseAddr("10.0.0.1"), uint16(1000+i)), Scheduler: "wlc"}
		for host := range byte(10) {
			a := netip.AddrFrom4([4]byte{10, 1, byte(i), host + 1})
			s.Destinations = append(s.Destinations, lb.Destination{DestKey: lb.DestKey{Addr: a, Port: 80}, Weight: 1})
		}
		services[i] = s
	}
	return services
}

func BenchmarkApply(b *testing.B) {
	changes := lb.Diff(nil, thousand(), lb.DiffOptions{})
	table := open(b)
	for b.Loop() {
		if err := table.Apply(b.Context(), changes...); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := table.Apply(b.Context(), lb.Change{Op: lb.Flush}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkList(b *testing.B) {
	table := open(b)
	if err := table.Apply(b.Context(), lb.Diff(nil, thousand(), lb.DiffOptions{})...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		got, err := table.List(b.Context())
		if err != nil || len(got) != 1000 {
			b.Fatal(len(got), err)
		}
	}
}

func BenchmarkReconcile(b *testing.B) {
	table := open(b)
	desired := thousand()
	for b.Loop() {
		if _, err := lb.NewController(table, lb.ControllerOptions{}).Reconcile(b.Context(), desired); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := table.Apply(b.Context(), lb.Change{Op: lb.Flush}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkOneWeight(b *testing.B) {
	table := open(b)
	desired := thousand()
	c := lb.NewController(table, lb.ControllerOptions{})
	if _, err := c.Reconcile(b.Context(), desired); err != nil {
		b.Fatal(err)
	}
	for i := int32(2); b.Loop(); i++ {
		if _, err := c.SetWeight(b.Context(), desired[500].Key, desired[500].Destinations[0].DestKey, i); err != nil {
			b.Fatal(fmt.Errorf("%d: %w", i, err))
		}
	}
}
