package lbtest

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipvslab/ipvslab/lb"
)

// Conformance checks that tables behave as lb.Table says and as the kernel
// does. Each subtest asks for a table of its own, which has to be empty, in a
// namespace whose lo is up; the suite closes it.
func Conformance(t *testing.T, open func(t *testing.T) lb.Table) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, table lb.Table)
	}{
		{"Services", services},
		{"EditService", editService},
		{"EditDestination", editDestination},
		{"Refusals", refusals},
		{"RefusalsInABatch", refusalsInABatch},
		{"OrderOfDestinations", orderOfDestinations},
		{"ManyDestinations", manyDestinations},
		{"Missing", missing},
		{"Flush", flush},
		{"Timeouts", timeouts},
		{"Information", information},
		{"Zero", zero},
		{"Daemons", daemons},
		{"Closed", closed},
		{"Cancelled", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := open(t)
			t.Cleanup(func() {
				if err := table.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			c.test(t, table)
		})
	}
}

var (
	vip4 = netip.MustParseAddr("10.0.0.1")
	vip6 = netip.MustParseAddr("fd00::1")
	web  = lb.AddrKey(lb.TCP, vip4, 80)
)

func at(addr string, port uint16) lb.DestKey {
	return lb.DestKey{Addr: netip.MustParseAddr(addr), Port: port}
}

// Examples are services that between them use every field a table keeps.
func Examples() []lb.Service {
	return []lb.Service{
		{Key: web, Scheduler: "rr", Destinations: []lb.Destination{
			{DestKey: at("10.1.0.1", 8080), Forward: lb.NAT, Weight: 1},
			{DestKey: at("10.1.0.2", 8080), Forward: lb.NAT, Weight: 70000, Upper: 100, Lower: 50},
			{DestKey: at("10.1.0.3", 80), Forward: lb.DR, Weight: 0, Upper: 1<<31 - 1}, // kernels since 6.1.183 refuse more
			{DestKey: at("10.1.0.4", 80), Forward: lb.TUN, Weight: 1<<31 - 1},
			{DestKey: at("10.1.0.5", 80), Forward: lb.TUN, Weight: 1, Tunnel: lb.Tunnel{Type: lb.GUE, Port: 6080, Flags: 1}},
			{DestKey: at("10.1.0.6", 80), Forward: lb.TUN, Weight: 1, Tunnel: lb.Tunnel{Type: lb.GRE, Flags: 1}},
			{DestKey: at("10.1.0.7", 80), Forward: lb.Local, Weight: 1},
		}},
		{Key: lb.AddrKey(lb.UDP, vip4, 53), Scheduler: "wlc", Flags: lb.OnePacket},
		{Key: lb.AddrKey(lb.SCTP, vip4, 9), Scheduler: "wrr"},
		{Key: lb.AddrKey(lb.TCP, vip4, 0), Scheduler: "rr", Timeout: 360 * time.Second},
		{Key: lb.AddrKey(lb.TCP, vip4, 443), Scheduler: "sh", Flags: lb.Sched1 | lb.Sched2, Timeout: time.Second, MaskBits: 24},
		{Key: lb.AddrKey(lb.UDP, vip4, 5060), Scheduler: "lc", Timeout: lb.MaxTimeout, Engine: "sip", Flags: lb.OnePacket},
		{Key: lb.AddrKey(lb.TCP, vip6, 80), Scheduler: "mh", Flags: lb.Sched2, Timeout: time.Hour, MaskBits: 64, Destinations: []lb.Destination{
			{DestKey: at("fd01::1", 80), Forward: lb.DR, Weight: 3},
			{DestKey: at("fd01::2", 8080), Forward: lb.NAT, Weight: 2},
			{DestKey: at("10.1.0.1", 80), Forward: lb.TUN, Weight: 1},
			{DestKey: at("fd01::3", 80), Forward: lb.TUN, Weight: 1, Tunnel: lb.Tunnel{Type: lb.GUE, Port: 6080}},
		}},
		{Key: lb.AddrKey(lb.UDP, vip6, 53), Scheduler: "dh"},
		{Key: lb.MarkKey(7, lb.IPv4), Scheduler: "sed", Destinations: []lb.Destination{
			{DestKey: at("10.1.0.1", 0), Forward: lb.DR, Weight: 1},
			{DestKey: at("fd01::1", 0), Forward: lb.TUN, Weight: 1},
		}},
		{Key: lb.MarkKey(7, lb.IPv6), Scheduler: "nq", Timeout: time.Minute, MaskBits: 1},
		{Key: lb.MarkKey(1<<32-1, lb.IPv4), Scheduler: "none"},
	}
}

// Changes are what it takes to make a service.
func changesFor(services ...lb.Service) []lb.Change { return lb.Diff(nil, services, lb.DiffOptions{}) }

func mustApply(t *testing.T, table lb.Table, changes ...lb.Change) {
	t.Helper()
	if err := table.Apply(t.Context(), changes...); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

// expect compares the whole table with what is wanted, through List and Get.
func expect(t *testing.T, table lb.Table, want ...lb.Service) {
	t.Helper()
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	byKey := cmpopts.SortSlices(func(a, b lb.Service) bool { return a.Key.String() < b.Key.String() })
	if diff := cmp.Diff(specs(want), specs(got), byKey, addrs, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("table differs (-want +got):\n%s", diff)
	}
	for _, w := range want {
		got, err := table.Get(t.Context(), w.Key)
		if err != nil {
			t.Fatalf("get: %v", err)
		}
		if diff := cmp.Diff(w.FullSpec(), got.FullSpec(), addrs, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("service %s differs (-want +got):\n%s", w.Key, diff)
		}
	}
}

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func specs(services []lb.Service) []lb.Service {
	out := make([]lb.Service, len(services))
	for i, s := range services {
		out[i] = s.FullSpec()
	}
	return out
}

func services(t *testing.T, table lb.Table) {
	expect(t, table)
	for _, s := range Examples() {
		if err := s.Validate(); err != nil {
			t.Errorf("example: %v", err)
		}
	}
	mustApply(t, table, changesFor(Examples()...)...)
	expect(t, table, Examples()...)
	for i, s := range Examples() {
		mustApply(t, table, lb.Change{Op: lb.DeleteService, Service: lb.Service{Key: s.Key}})
		expect(t, table, Examples()[i+1:]...)
	}
}

func editService(t *testing.T, table lb.Table) {
	s := lb.Service{Key: web, Scheduler: "wrr", Destinations: []lb.Destination{
		{DestKey: at("10.1.0.1", 80), Weight: 1}, {DestKey: at("10.1.0.2", 80), Weight: 2},
	}}
	mustApply(t, table, changesFor(s)...)
	for _, edit := range []func(*lb.Service){
		func(s *lb.Service) { s.Scheduler = "sh" },
		func(s *lb.Service) { s.Flags = lb.Sched2 },
		func(s *lb.Service) { s.Flags = 0 },
		func(s *lb.Service) { s.Timeout, s.MaskBits = time.Minute, 24 },
		func(s *lb.Service) { s.MaskBits, s.OddMask = 0, netip.MustParseAddr("255.0.255.0") },
		func(s *lb.Service) { s.OddMask = netip.MustParseAddr("0.0.0.0") },
		func(s *lb.Service) { s.OddMask = netip.Addr{} },
		func(s *lb.Service) { s.Engine = "sip" },
		func(s *lb.Service) { s.Engine = "" },
		func(s *lb.Service) { s.Timeout = 0 },
		func(s *lb.Service) { s.Scheduler = "none" },
		func(s *lb.Service) { s.Scheduler, s.Flags, s.Timeout = "mh", lb.Sched1, time.Hour },
	} {
		edit(&s)
		mustApply(t, table, lb.Change{Op: lb.EditService, Service: s})
		expect(t, table, s)
	}
}

func editDestination(t *testing.T, table lb.Table) {
	d := lb.Destination{DestKey: at("10.1.0.1", 80), Weight: 1}
	s := lb.Service{Key: web, Scheduler: "rr", Destinations: []lb.Destination{d, {DestKey: at("10.1.0.2", 80), Weight: 2}}}
	mustApply(t, table, changesFor(s)...)
	for _, edit := range []func(*lb.Destination){
		func(d *lb.Destination) { d.Weight = 100000 },
		func(d *lb.Destination) { d.Weight = 0 },
		func(d *lb.Destination) { d.Upper, d.Lower = 10, 5 },
		func(d *lb.Destination) { d.Upper, d.Lower = 0, 0 },
		func(d *lb.Destination) { d.Forward = lb.DR },
		func(d *lb.Destination) { d.Forward, d.Tunnel = lb.TUN, lb.Tunnel{Type: lb.GUE, Port: 1, Flags: 2} },
		func(d *lb.Destination) { d.Tunnel = lb.Tunnel{} },
		func(d *lb.Destination) { d.Forward, d.Weight = lb.NAT, 5 },
	} {
		edit(&d)
		s.Destinations[0] = d
		mustApply(t, table, lb.DestChange(lb.EditDestination, web, d))
		expect(t, table, s)
	}
}

func refusals(t *testing.T, table lb.Table) {
	d := lb.Destination{DestKey: at("10.1.0.1", 80), Weight: 1}
	s := lb.Service{Key: web, Scheduler: "rr", Destinations: []lb.Destination{d}}
	mustApply(t, table, changesFor(s)...)
	other := lb.Service{Key: lb.AddrKey(lb.TCP, vip4, 81), Scheduler: "rr"}
	service := func(op lb.Op, s lb.Service, edit func(*lb.Service)) lb.Change {
		edit(&s)
		return lb.Change{Op: op, Service: s}
	}
	dest := func(op lb.Op, edit func(*lb.Destination)) lb.Change {
		d := d
		edit(&d)
		return lb.DestChange(op, web, d)
	}
	elsewhere := func(d *lb.Destination) { d.DestKey = at("10.1.0.9", 80) }
	for name, c := range map[string]struct {
		change lb.Change
		want   error
	}{
		"service exists":        {service(lb.AddService, s, func(*lb.Service) {}), lb.ErrServiceExists},
		"scheduler unknown":     {service(lb.AddService, other, func(s *lb.Service) { s.Scheduler = "bogus" }), lb.ErrNoScheduler},
		"engine unknown":        {service(lb.AddService, other, func(s *lb.Service) { s.Engine = "bogus" }), lb.ErrNoScheduler},
		"edit missing service":  {service(lb.EditService, other, func(*lb.Service) {}), lb.ErrNoService},
		"edit bad scheduler":    {service(lb.EditService, s, func(s *lb.Service) { s.Scheduler = "bogus" }), lb.ErrNoScheduler},
		"edit bad engine":       {service(lb.EditService, s, func(s *lb.Service) { s.Engine = "bogus" }), lb.ErrNoScheduler},
		"delete missing":        {service(lb.DeleteService, other, func(*lb.Service) {}), lb.ErrNoService},
		"delete other family":   {service(lb.DeleteService, lb.Service{Key: lb.MarkKey(9, lb.IPv6)}, func(*lb.Service) {}), lb.ErrNoService},
		"add to missing":        {lb.DestChange(lb.AddDestination, other.Key, d), lb.ErrNoService},
		"edit in missing":       {lb.DestChange(lb.EditDestination, other.Key, d), lb.ErrNoService},
		"delete from missing":   {lb.DestChange(lb.DeleteDestination, other.Key, d), lb.ErrNoService},
		"destination exists":    {dest(lb.AddDestination, func(*lb.Destination) {}), lb.ErrDestinationExists},
		"edit missing dest":     {dest(lb.EditDestination, elsewhere), lb.ErrNoDestination},
		"delete missing dest":   {dest(lb.DeleteDestination, elsewhere), lb.ErrNoDestination},
		"delete other port":     {dest(lb.DeleteDestination, func(d *lb.Destination) { d.Port = 81 }), lb.ErrNoDestination},
		"negative weight":       {dest(lb.EditDestination, func(d *lb.Destination) { d.Weight = -1 }), lb.ErrRange},
		"lower above upper":     {dest(lb.EditDestination, func(d *lb.Destination) { d.Upper, d.Lower = 1, 2 }), lb.ErrRange},
		"lower without upper":   {dest(lb.AddDestination, func(d *lb.Destination) { elsewhere(d); d.Lower = 2 }), lb.ErrRange},
		"gue without port":      {dest(lb.EditDestination, func(d *lb.Destination) { d.Forward, d.Tunnel.Type = lb.TUN, lb.GUE }), lb.ErrInvalid},
		"multicast destination": {dest(lb.AddDestination, func(d *lb.Destination) { d.DestKey = at("224.0.0.1", 80) }), lb.ErrInvalid},
		"zero destination":      {dest(lb.AddDestination, func(d *lb.Destination) { d.DestKey = at("0.0.0.0", 80) }), lb.ErrInvalid},
		"broadcast destination": {dest(lb.AddDestination, func(d *lb.Destination) { d.DestKey = at("255.255.255.255", 80) }), lb.ErrInvalid},
		"other family, NAT":     {dest(lb.AddDestination, func(d *lb.Destination) { d.DestKey = at("fd01::1", 80) }), lb.ErrInvalid},
		"other family, DR":      {dest(lb.AddDestination, func(d *lb.Destination) { d.DestKey, d.Forward = at("fd01::1", 80), lb.DR }), lb.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			err := table.Apply(t.Context(), c.change)
			if !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", c.change, err, c.want)
			}
			failed := lb.ChangeErrors(err)
			if len(failed) != 1 || failed[0].Index != 0 || !strings.Contains(err.Error(), c.change.String()) {
				t.Errorf("error does not name its change: %v", err)
			}
			expect(t, table, s)
		})
	}
}

func refusalsInABatch(t *testing.T, table lb.Table) {
	good := lb.Service{Key: web, Scheduler: "rr"}
	var changes []lb.Change
	var wantFailed []int
	changes = append(changes, lb.Change{Op: lb.AddService, Service: good})
	for i := range 300 {
		d := lb.Destination{DestKey: at("10.1.0.0", 80), Weight: int32(i)}
		d.Addr = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		if i%7 == 3 {
			d.Weight = -1
			wantFailed = append(wantFailed, len(changes))
		} else {
			good.Destinations = append(good.Destinations, d)
		}
		changes = append(changes, lb.DestChange(lb.AddDestination, web, d))
	}
	var failed []int
	for _, e := range lb.ChangeErrors(table.Apply(t.Context(), changes...)) {
		failed = append(failed, e.Index)
		if !errors.Is(e, lb.ErrRange) {
			t.Errorf("change %d: %v", e.Index, e)
		}
	}
	if !slices.Equal(failed, wantFailed) {
		t.Errorf("failed: %v, want %v", failed, wantFailed)
	}
	expect(t, table, good)
}

func orderOfDestinations(t *testing.T, table lb.Table) {
	s := lb.Service{Key: web, Scheduler: "rr"}
	for _, a := range []string{"10.1.0.5", "10.1.0.1", "10.1.0.9"} {
		s.Destinations = append(s.Destinations, lb.Destination{DestKey: at(a, 80), Weight: 1})
	}
	mustApply(t, table, changesFor(s)...)
	expect(t, table, s)
	// An edit leaves a destination where it is; an add puts it last.
	s.Destinations[0].Weight = 7
	mustApply(t, table, lb.DestChange(lb.EditDestination, web, s.Destinations[0]))
	expect(t, table, s)
	first := s.Destinations[0]
	mustApply(t, table, lb.DestChange(lb.DeleteDestination, web, first), lb.DestChange(lb.AddDestination, web, first))
	s.Destinations = append(s.Destinations[1:], first)
	expect(t, table, s)
}

// manyDestinations needs more than one batch to write and more than one
// message to read.
func manyDestinations(t *testing.T, table lb.Table) {
	s := lb.Service{Key: web, Scheduler: "wrr"}
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})
		s.Destinations = append(s.Destinations, lb.Destination{DestKey: lb.DestKey{Addr: a, Port: 80}, Weight: int32(i)})
	}
	mustApply(t, table, changesFor(s)...)
	expect(t, table, s)
}

func missing(t *testing.T, table lb.Table) {
	if _, err := table.Get(t.Context(), web); !errors.Is(err, lb.ErrNoService) {
		t.Errorf("get: %v", err)
	}
	if _, err := table.Destinations(t.Context(), web); !errors.Is(err, lb.ErrNoService) {
		t.Errorf("destinations: %v", err)
	}
	if err := table.Zero(t.Context(), web); !errors.Is(err, lb.ErrNoService) {
		t.Errorf("zero: %v", err)
	}
	mustApply(t, table, lb.Change{Op: lb.AddService, Service: lb.Service{Key: web, Scheduler: "rr"}})
	if d, err := table.Destinations(t.Context(), web); err != nil || len(d) != 0 {
		t.Errorf("destinations of an empty service: %v, %v", d, err)
	}
}

func flush(t *testing.T, table lb.Table) {
	mustApply(t, table, lb.Change{Op: lb.Flush})
	mustApply(t, table, changesFor(Examples()...)...)
	mustApply(t, table, lb.Change{Op: lb.Flush})
	expect(t, table)
}
