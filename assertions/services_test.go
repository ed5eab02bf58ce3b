package assertions_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lb"
)

func dest(addr string, weight int32) lb.Destination {
	return lb.Destination{DestKey: lb.DestKey{Addr: netip.MustParseAddr(addr), Port: 80}, Weight: weight}
}

func TestHoldServices(t *testing.T) {
	vip := netip.MustParseAddr("10.0.0.100")
	web := lb.Service{Key: lb.AddrKey(lb.TCP, vip, 80), Scheduler: "wrr", Destinations: []lb.Destination{dest("10.1.0.11", 1), dest("10.1.0.12", 2)}}
	dns := lb.Service{Key: lb.MarkKey(7, lb.IPv6), Scheduler: "rr"}
	// but is the table with a change made to the service web.
	but := func(change func(*lb.Service)) []lb.Service {
		s := web
		s.Destinations = slices.Clone(web.Destinations)
		change(&s)
		return []lb.Service{dns, s}
	}
	asPlanned := assertions.HoldServices(web, dns)
	judge(t, "hold_services",
		verdict{"as planned, in another order and in use", asPlanned, but(func(s *lb.Service) {
			slices.Reverse(s.Destinations)
			s.Counters.Conns, s.Destinations[0].Counters.Active = 9, 3
		}), true},
		verdict{"nothing planned, nothing there", assertions.HoldServices(), []lb.Service{}, true},
		verdict{"flushed", asPlanned, []lb.Service{}, false},
		verdict{"one too many", assertions.HoldServices(web), but(func(*lb.Service) {}), false},
		verdict{"another weight", asPlanned, but(func(s *lb.Service) { s.Destinations[1].Weight = 5 }), false},
		verdict{"another method", asPlanned, but(func(s *lb.Service) { s.Destinations[0].Forward = lb.DR }), false},
		verdict{"another port", asPlanned, but(func(s *lb.Service) { s.Destinations[0].Port = 8080 }), false},
		verdict{"thresholds", asPlanned, but(func(s *lb.Service) { s.Destinations[0].Upper, s.Destinations[0].Lower = 9, 3 }), false},
		verdict{"a real server is missing", asPlanned, but(func(s *lb.Service) { s.Destinations = s.Destinations[:1] }), false},
		verdict{"a real server too many", asPlanned, but(func(s *lb.Service) { s.Destinations = append(s.Destinations, dest("10.1.0.13", 1)) }), false},
		verdict{"another scheduler", asPlanned, but(func(s *lb.Service) { s.Scheduler = "sh" }), false},
		verdict{"flags", asPlanned, but(func(s *lb.Service) { s.Flags = lb.Sched1 }), false},
		verdict{"persistent", asPlanned, but(func(s *lb.Service) { s.Timeout, s.MaskBits = 300*time.Second, 24 }), false},
		verdict{"several at once", asPlanned, but(func(s *lb.Service) {
			s.Scheduler, s.Flags, s.Destinations = "sh", lb.Sched1, []lb.Destination{dest("10.1.0.13", 1), dest("10.1.0.12", 0)}
		}), false},
	)
	mistaken(t, asPlanned, "not lb.Service", web)
	mistaken(t, asPlanned, "not <nil>", nil)
}
