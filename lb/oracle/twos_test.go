package oracle_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// lots compares picks with the chances they had. The sum over all picks of
// (picked - probability), divided by the root of the sum of the variances, is
// normally distributed for each destination, though the probabilities change
// with every pick (martingale central limit theorem).
type lots struct {
	excess, variance map[lb.DestKey]float64
}

func (l *lots) note(chances []oracle.Share, picked lb.DestKey) {
	if l.excess == nil {
		l.excess, l.variance = map[lb.DestKey]float64{}, map[lb.DestKey]float64{}
	}
	for _, c := range chances {
		l.excess[c.Dest] -= c.Probability
		l.variance[c.Dest] += c.Probability * (1 - c.Probability)
	}
	l.excess[picked]++
}

// check fails when a destination is off by more than 5 standard deviations: of
// a right scheduler once in 1.7 million destinations.
func (l *lots) check(t *testing.T) {
	t.Helper()
	for d, e := range l.excess {
		if z := e / math.Sqrt(l.variance[d]); math.Abs(z) > 5 || math.IsNaN(z) {
			t.Errorf("%v got %.0f connections too many, %.1f standard deviations", d, e, z)
		}
	}
}

// TestTwosDrawsItsDistribution: the model's own lots agree with the exact chances.
func TestTwosDrawsItsDistribution(t *testing.T) {
	m := model(t, service("twos", 1, 3, 2, 0), oracle.Variant{})
	m.Random(rand.New(rand.NewPCG(3, 4)).IntN)
	var l lots
	for n := range 20_000 {
		chances := m.Distribution()
		picked, ok := m.Pick(client(n))
		if !ok || len(chances) != 3 {
			t.Fatalf("picked %v, %t of %v", picked, ok, chances)
		}
		l.note(chances, picked)
		if n%3 == 0 {
			must(t, m.Close(client(n)))
		}
	}
	l.check(t)
}

func TestTwosInTheKernel(t *testing.T) {
	needKernel(t, probe.Scheduler("twos"))
	s := lb.Service{Key: lb.AddrKey(lb.TCP, kernelVIP(lb.IPv4, 1), 80), Scheduler: "twos"}
	for n := range 5 {
		s.Destinations = append(s.Destinations, kernelServer(lb.IPv4, n+1, int32(n)))
	}
	p := newPair(t, s, kernelVariant(t))
	defer p.close()
	var l lots
	for n := range *picksInARow {
		c := kernelClient(lb.IPv4, n)
		to, ok, err := p.Send(c)
		if err != nil || !ok {
			t.Fatalf("connection %d was not forwarded: %v", n, err)
		}
		l.note(p.Model.Distribution(), to)
		must(t, p.Model.Observe(c, to))
		if n%3 == 0 {
			p.do(predict.Event{Verb: predict.FIN, Conn: c})
		}
	}
	p.check(p.Compare())
	l.check(t)
}
