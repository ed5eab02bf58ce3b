package lab_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/topology"
)

var (
	orderSeed  = flag.Uint64("order.seed", 0, "seed of the faults' order; 0: one that is logged")
	orderFor   = flag.Duration("order.for", 2*time.Minute, "how long the long form goes on, over all pairings")
	orderPairs = flag.String("order.pairs", "", "only pairings of this name, such as embedded+keepalived")
)

// TestFaultsInAnyOrder does faults to directors of a failover group as they
// come, heals them all, and looks each time whether the group is as it was:
// one director has all addresses, nobody else has any, and the VIP is served.
func TestFaultsInAnyOrder(t *testing.T) {
	needIPVS(t)
	seed := *orderSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	pairings := [][]string{
		{"embedded", "keepalived"},
		{"keepalived", "embedded"},
		{"embedded", "embedded"},
		{"embedded", "keepalived", "embedded"},
		{"keepalived", "embedded", "keepalived"},
		{"embedded", "embedded", "embedded"},
		{"keepalived", "keepalived"},
	}
	rounds, within := 1, time.Duration(0)
	if testing.Short() {
		pairings = pairings[:1]
	} else {
		rounds, within = 0, *orderFor/time.Duration(len(pairings))
	}
	for _, kinds := range pairings {
		name := strings.Join(kinds, "+")
		if *orderPairs != "" && *orderPairs != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if slices.Contains(kinds, "keepalived") {
				probetest.Keepalived(t)
			}
			dir := stateRoot(t)
			p := orderPlan(t, kinds)
			o := &disorder{t: t, l: up(t, p, lab.Options{}), rng: rand.New(rand.NewPCG(seed, seed)), group: &p.Failover[0]}
			o.settle()
			until := time.Now().Add(within)
			for n := 0; n < rounds || time.Now().Before(until); n++ {
				o.round(n)
				if t.Failed() {
					t.Fatalf("with -order.seed %d -order.pairs %s", seed, name)
				}
			}
			if err := o.l.Down(t.Context()); err != nil {
				t.Error(err)
			}
			nothingLeft(t, dir, p.Name)
			t.Logf("seed %d: %d rounds, %d faults; the slowest election took %v, the slowest first answers %v",
				seed, o.rounds, o.faults, o.elected.Round(time.Millisecond), o.served.Round(time.Millisecond))
		})
	}
}

// orderPlan is order.yaml with so many directors of these kinds.
//
// keepalived is left without the kernel's connection synchronisation: a sync
// daemon that is stopped before its thread has run is never acknowledged
// (net/netfilter/ipvs/ip_vs_sync.c, stop_sync_thread: EINTR), and keepalived
// 2.2.7, that became master for a moment only, waits for that for ever.
func orderPlan(t *testing.T, kinds []string) *topology.Plan {
	t.Helper()
	data, err := os.ReadFile("testdata/order.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i, kind := range kinds {
		if kind == "keepalived" {
			kind = "{kind: keepalived, ready: {within: 1m}}" // for a busy machine
		}
		text = strings.Replace(text, fmt.Sprintf("KIND%d", i+1), kind, 1)
	}
	if slices.Contains(kinds, "keepalived") {
		text = strings.Replace(text, ", sync: follow", "", 1)
	}
	if len(kinds) == 2 {
		lines := slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(l string) bool { return strings.HasPrefix(l, "  d3:") })
		text = strings.Replace(strings.Join(lines, ""), "d2, d3]", "d2]", 1)
	}
	file := filepath.Join(t.TempDir(), "order.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, problems, err := topology.Open(file, labName("order"))
	if err != nil {
		t.Fatalf("%v\n%v", err, problems)
	}
	return p
}

// disorder is a lab in which things go wrong.
type disorder struct {
	t     *testing.T
	l     *lab.Lab
	rng   *rand.Rand
	group *topology.Group

	rounds, faults  int
	elected, served time.Duration // the longest
}

// round does some faults, with requests between them, and heals.
func (o *disorder) round(n int) {
	o.t.Helper()
	o.rounds++
	process := map[string]string{} // what was done to each director's
	var done []string
	pause := 700
	if testing.Short() {
		pause = 100
	}
	for range 2 + o.rng.IntN(6) {
		text := o.any(process)
		done = append(done, text)
		o.faults++
		if err := attempt(o.t, o.l, text); err != nil {
			o.t.Errorf("%v", err)
			break
		}
		o.ask(time.Duration(10+o.rng.IntN(pause)) * time.Millisecond)
	}
	if _, err := o.l.Heal(o.t.Context()); err != nil {
		o.t.Error(err)
	}
	o.settle()
	if o.t.Failed() {
		o.t.Logf("round %d: %s", n, strings.Join(done, "; "))
		o.logs()
	}
}

// any is a fault that makes sense now.
func (o *disorder) any(process map[string]string) string {
	members := o.group.Members
	at := o.rng.IntN(len(members))
	node, other := members[at].Node, members[(at+1+o.rng.IntN(len(members)-1))%len(members)].Node
	network := []string{"", " outside", " inside"}[o.rng.IntN(3)]
	var words []string
	switch process[node] {
	case "freeze":
		words = []string{"kill", "resume", "restart", "stop"}
	case "":
		words = []string{"kill", "freeze", "restart", "stop"}
	default: // it is dead
		words = []string{"restart"}
	}
	words = append(words, "link-down"+network, "link-up"+network, "partition "+other, "partition "+other, "heal", "loss 30% with "+other)
	word := words[o.rng.IntN(len(words))]
	switch verb, _, _ := strings.Cut(word, " "); verb {
	case "kill", "freeze", "stop":
		process[node] = verb
	case "resume", "restart", "heal":
		process[node] = ""
	}
	return node + " " + word
}

// ask has the client ask for the VIP once, for so long at most: that fills its
// neighbour table with whatever is said just now.
func (o *disorder) ask(within time.Duration) (answered bool) {
	o.t.Helper()
	client, err := o.l.Node("client")
	if err != nil {
		o.t.Fatal(err)
	}
	res, err := traffic.Run(o.t.Context(), client.Do, traffic.Spec{To: netip.MustParseAddrPort("10.0.0.100:80"), Timeout: within})
	if err != nil {
		o.t.Fatal(err)
	}
	return res.Answered() == 1
}

// settleWithin is much longer than three intervals, the skew and a neighbour's
// next announcement are.
const settleWithin = 30 * time.Second

// settle waits until all is as it should be when nothing is wrong.
func (o *disorder) settle() {
	o.t.Helper()
	began := time.Now()
	await := func(look func() error) time.Duration {
		o.t.Helper()
		for {
			err := look()
			took := time.Since(began)
			if err == nil {
				return took
			}
			if took > settleWithin {
				o.t.Error(err)
				return took
			}
			o.ask(20 * time.Millisecond)
		}
	}
	o.elected = max(o.elected, await(o.one))
	inForce(o.t, o.l)
	o.served = max(o.served, await(func() error {
		for range 3 {
			if !o.ask(300 * time.Millisecond) {
				return fmt.Errorf("the client is not served, %v after all was healed", time.Since(began))
			}
		}
		return o.one()
	}))
}

// one tells whether the preferred director has all of the group's addresses and
// the others have none.
func (o *disorder) one() error {
	for i, m := range o.group.Members {
		out := run(o.t, o.l, m.Node, "ip -o address")
		for _, r := range o.group.Routers {
			for _, a := range r.Addresses {
				on := strings.Contains(out, " "+netip.PrefixFrom(a.Addr, a.Addr.BitLen()).String()+" ")
				if on != (i == 0) {
					return fmt.Errorf("director %s has %s: %t, want %t", m.Node, a.Addr, on, i == 0)
				}
			}
		}
	}
	return nil
}

// logs shows the end of what the directors say.
func (o *disorder) logs() {
	for _, m := range o.group.Members {
		data, err := os.ReadFile(filepath.Join(o.l.Dir(), "directors", m.Node, "log"))
		o.t.Logf("%s (%v):\n%s", m.Node, err, data[max(0, len(data)-4000):])
	}
}
