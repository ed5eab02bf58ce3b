package oracle_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// picksInARow is how many picks of each scheduler must agree.
var picksInARow = flag.Int("picks", 2_000, "picks per scheduler in a row; `make soak` takes 10,000")

// run is one way of driving a scheduler.
type run struct {
	scheduler string
	flags     lb.Flags
	protocol  lb.Protocol
	family    lb.Family
	mark      uint32 // a firewall-mark service, which has many virtual addresses
	picks     int
}

func (r run) String() string {
	return fmt.Sprintf("%s/flags=%#x/%s/IPv%d/mark=%d", r.scheduler, uint32(r.flags), r.protocol, r.family, r.mark)
}

// runs are for each scheduler TCP, whose connections are active at first, UDP,
// whose never are, and IPv6; the first at full length, the others at a tenth.
// Those that have no use for activity are spared TCP.
func runs() (all []run) {
	full, part := *picksInARow, *picksInARow/10
	for _, s := range oracle.Schedulers() {
		switch s {
		case "twos": // random
		case "sh", "mh":
			for _, f := range []lb.Flags{0, lb.Sched1, lb.Sched2, lb.Sched1 | lb.Sched2} {
				all = append(all, run{s, f, lb.UDP, lb.IPv4, 0, full}, run{s, f, lb.UDP, lb.IPv6, 0, part})
			}
		case "dh", "lblc", "lblcr":
			all = append(all, run{s, 0, lb.TCP, lb.IPv4, 7, full}, run{s, 0, lb.UDP, lb.IPv4, 7, part}, run{s, 0, lb.TCP, lb.IPv6, 7, part})
		default:
			all = append(all, run{s, 0, lb.TCP, lb.IPv4, 0, full}, run{s, 0, lb.UDP, lb.IPv4, 0, part}, run{s, 0, lb.TCP, lb.IPv6, 0, part})
		}
	}
	return all
}

// TestEachPickInTheKernel drives every scheduler through thousands of
// connections, with edits in between, and compares each pick.
func TestEachPickInTheKernel(t *testing.T) {
	needKernel(t, probe.IPVS)
	variant := kernelVariant(t)
	for i, r := range runs() {
		t.Run(r.String(), func(t *testing.T) {
			needKernel(t, probe.Scheduler(r.scheduler))
			s := lb.Service{Key: lb.AddrKey(r.protocol, kernelVIP(r.family, 1), 80), Scheduler: r.scheduler, Flags: r.flags}
			if r.mark != 0 {
				needKernel(t, probe.SkbEdit)
				s.Key = lb.MarkKey(r.mark, r.family)
			}
			start := time.Now()
			if *update {
				r.picks = min(r.picks, 150)
			}
			script, picks := drive(t, r, s, variant, rand.New(rand.NewPCG(uint64(i), 7)))
			if *update {
				record(t, r, script, picks)
			}
			t.Logf("%d picks in %v", r.picks, time.Since(start))
		})
	}
}

type liveConn struct {
	oracle.Conn
	to lb.DestKey
}

// drive opens connections until there are enough, ends some of them, and now
// and then changes the destinations.
func drive(t *testing.T, how run, s lb.Service, v oracle.Variant, r *rand.Rand) (predict.Input, []string) {
	for n := range 5 {
		s.Destinations = append(s.Destinations, kernelServer(s.Family, n+1, int32(1+r.IntN(5))))
	}
	p := newPair(t, s, v)
	defer p.close()
	var live []liveConn
	for n := range how.picks {
		c := kernelClient(s.Family, n)
		c.Protocol = how.protocol
		if how.mark != 0 {
			c.Virtual = netip.AddrPortFrom(kernelVIP(s.Family, 1+r.IntN(40)), 80)
		}
		if out := p.open(c); out.OK && how.protocol == lb.TCP {
			live = append(live, liveConn{c, out.Dest})
		}
		if len(live) > 40 || len(live) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(live))
			if p.present(live[i].to) || r.IntN(10) == 0 { // it takes time to see that a packet is lost
				p.do(predict.Event{Verb: predict.FIN, Conn: live[i].Conn})
			}
			live = slices.Delete(live, i, i+1)
		}
		if r.IntN(20) == 0 {
			alter(p, r)
		}
		if n%1000 == 0 {
			p.check(p.Compare())
		}
	}
	p.check(p.Compare())
	return p.Script, p.Picks
}

// alter adds, edits or removes a destination.
func alter(p *pair, r *rand.Rand) {
	n := 1 + r.IntN(8)
	d := kernelServer(p.Service().Family, n, int32(r.IntN(7)))
	if p.Service().Scheduler == "mh" && r.IntN(3) == 0 {
		d.Weight = int32(r.IntN(2000)) // more than six bits
	}
	i := slices.IndexFunc(p.Model.Destinations(), func(s oracle.State) bool { return s.Dest == d.DestKey })
	if i >= 0 && r.IntN(3) == 0 {
		have := p.Model.Destinations()[i]
		d.Upper = uint32(have.Active + have.Inactive + 1 + r.IntN(40))
		d.Lower = d.Upper * uint32(r.IntN(2)) / 2
	}
	switch {
	case i < 0:
		p.do(predict.Event{Verb: predict.Add, Dest: d})
	case r.IntN(4) == 0 && len(p.Model.Destinations()) > 2:
		p.do(predict.Event{Verb: predict.Remove, Dest: d})
	default:
		p.do(predict.Event{Verb: predict.Edit, Dest: d})
	}
}

// kernelVariant is this kernel's, found out by the experiment.
func kernelVariant(t *testing.T) oracle.Variant {
	t.Helper()
	v, err := detectOnce()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var detectOnce = sync.OnceValues(func() (v oracle.Variant, err error) {
	p, err := director.NewProber(context.Background(), func(path string) (lb.Table, error) {
		return ipvs.Open(context.Background(), path)
	})
	if err != nil {
		return v, err
	}
	defer p.Close()
	return oracle.Detect(p)
})

// TestDetectInTheKernel: the experiment is conclusive, and leaves the
// answer in the log.
func TestDetectInTheKernel(t *testing.T) {
	needKernel(t, probe.IPVS)
	needKernel(t, probe.Scheduler("wlc"))
	t.Logf("this kernel: %+v", kernelVariant(t))
}
