package oracle_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// picksInARow is how many picks of each scheduler must agree.
const picksInARow = 10_000

// TestEachPickInTheKernel drives every scheduler through thousands of
// connections, with edits in between, and compares each pick.
func TestEachPickInTheKernel(t *testing.T) {
	variant := detect(t)
	type run struct {
		scheduler string
		flags     lb.Flags
		protocol  lb.Protocol
		family    lb.Family
	}
	var runs []run
	for _, s := range oracle.Schedulers() {
		if s == "twos" {
			continue // random: see TestTwosInTheKernel
		}
		flags := []lb.Flags{0}
		if s == "sh" || s == "mh" {
			flags = []lb.Flags{0, lb.Sched1, lb.Sched2, lb.Sched1 | lb.Sched2}
		}
		for _, f := range flags {
			runs = append(runs, run{s, f, lb.UDP, lb.IPv4}, run{s, f, lb.TCP, lb.IPv4}, run{s, f, lb.TCP, lb.IPv6})
		}
	}
	for i, r := range runs {
		t.Run(fmt.Sprintf("%s/%#x/%s/%d", r.scheduler, r.flags, r.protocol, r.family), func(t *testing.T) {
			needKernel(t, r.scheduler)
			s := lb.Service{Key: lb.AddrKey(r.protocol, kernelVIP(r.family, 1), 80), Scheduler: r.scheduler, Flags: r.flags}
			s.Port = 80
			start := time.Now()
			drive(t, s, variant, rand.New(rand.NewPCG(uint64(i), 7)))
			t.Logf("%d picks in %v", picksInARow, time.Since(start))
		})
	}
}

// drive opens connections until there are enough, ends some of them, and now
// and then changes the destinations.
func drive(t *testing.T, s lb.Service, v oracle.Variant, r *rand.Rand) {
	for n := range 5 {
		s.Destinations = append(s.Destinations, kernelServer(s.Family, n+1, int32(1+r.IntN(5))))
	}
	p := newPair(t, s, v)
	defer p.close()
	present := map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true}
	type conn struct {
		oracle.Conn
		to lb.DestKey
	}
	var live []conn
	for n := range picksInARow {
		c := kernelClient(s.Family, n)
		if out := p.open(c); out.OK && s.Protocol == lb.TCP {
			live = append(live, conn{c, out.Dest})
		}
		if len(live) > 40 || len(live) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(live))
			p.finish(live[i].Conn, live[i].to)
			live = append(live[:i], live[i+1:]...)
		}
		if r.IntN(50) == 0 {
			alter(p, present, r)
		}
	}
	p.compareCounts()
}

// alter adds, edits or removes a destination.
func alter(p *pair, present map[int]bool, r *rand.Rand) {
	n := 1 + r.IntN(8)
	d := kernelServer(p.service.Family, n, int32(r.IntN(7)))
	if r.IntN(3) == 0 {
		for _, have := range p.model.Destinations() {
			if have.Dest == d.DestKey {
				d.Upper = uint32(have.Active + have.Inactive + 1 + r.IntN(40))
				d.Lower = d.Upper * uint32(r.IntN(2)) / 2
			}
		}
	}
	switch {
	case !present[n]:
		p.add(d)
		present[n] = true
	case r.IntN(4) == 0 && len(p.model.Destinations()) > 2:
		p.remove(d.DestKey)
		present[n] = false
	default:
		p.edit(d)
	}
}

func detect(*testing.T) oracle.Variant { return oracle.Variant{} }
