package oracle_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// errorRate is how often a right scheduler fails the test of its lots.
const errorRate = 1e-6

// lots compares picks with the chances they had, which change with every pick.
// For each destination the sum of (picked - probability) is a martingale whose
// steps are at most 1; with V the sum of its steps' variances,
// P(|sum| >= x) <= 2 exp(-x²/(2V + 2x/3)) (Freedman, On tail probabilities for
// martingales, 1975). It holds for any number of picks: nothing is approximated.
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

// unfair are the destinations with more or fewer picks than chance brings about
// in all but errorRate of the tests.
func (l *lots) unfair() (out []string) {
	for d, x := range l.excess {
		p := 2 * math.Exp(-x*x/(2*l.variance[d]+2*math.Abs(x)/3))
		if p < errorRate/float64(len(l.excess)) {
			out = append(out, fmt.Sprintf("%v got %+.0f connections more than it should, which chance does at most with probability %.1g", d, x, p))
		}
	}
	return out
}

func (l *lots) check(t *testing.T) {
	t.Helper()
	for _, s := range l.unfair() {
		t.Error(s)
	}
}

// TestUnfairLotsAreNoticed: schedulers that are not quite twos, seen in as many
// picks as the kernel is given at the least.
func TestUnfairLotsAreNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for name, pick := range map[string]func(usable []oracle.State, right lb.DestKey) lb.DestKey{
		"one draw by weight": func(usable []oracle.State, _ lb.DestKey) lb.DestKey { return drawOne(usable, r).Dest },
		"two draws, of which the more loaded wins": func(usable []oracle.State, _ lb.DestKey) lb.DestKey {
			a, b := drawOne(usable, r), drawOne(usable, r)
			if a.Active*int(b.Weight) < b.Active*int(a.Weight) {
				a = b
			}
			return a.Dest
		},
		"weights ignored": func(usable []oracle.State, _ lb.DestKey) lb.DestKey { return usable[r.IntN(len(usable))].Dest },
		"one pick in ten to the newest": func(usable []oracle.State, right lb.DestKey) lb.DestKey {
			if r.IntN(10) == 0 {
				return usable[0].Dest
			}
			return right
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := model(t, service("twos", 1, 3, 2, 0), oracle.Variant{})
			copied := model(t, service("twos", 1, 3, 2, 0), oracle.Variant{}) // draws as it should
			copied.Random(r.IntN)
			var l lots
			for n := range 2_000 {
				right, _ := copied.Pick(client(n))
				picked := pick(m.Destinations()[1:], right) // the newest has weight 0
				l.note(m.Distribution(), picked)
				must(t, m.Observe(client(n), picked))
				must(t, copied.Close(client(n)))
				must(t, copied.Observe(client(n), picked))
			}
			if len(l.unfair()) == 0 {
				t.Errorf("not noticed in 2,000 picks: %v", l.excess)
			}
		})
	}
}

func drawOne(among []oracle.State, r *rand.Rand) oracle.State {
	sum := 0
	for _, d := range among {
		sum += int(d.Weight)
	}
	n := r.IntN(sum)
	for _, d := range among {
		if n -= int(d.Weight); n < 0 {
			return d
		}
	}
	return among[0]
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

// TestTwosInTheKernel: a kernel that has twos draws as its model says, within
// [errorRate], while loads change.
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
