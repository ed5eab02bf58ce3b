package scenarios_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/topology"
)

var (
	randomLabs = flag.Int("labs", 3, "how many random labs the suite must pass")
	randomSeed = flag.Uint64("seed", 1, "of the first random lab; the next has the next")
)

// Whatever the suite says of a lab with nothing wrong is a false alarm. `-labs
// 200` takes about twenty minutes.
func TestRandomLabs(t *testing.T) {
	needKernel(t)
	if testing.Short() && *randomLabs > 1 {
		*randomLabs = 1
	}
	dir := t.TempDir()
	results := make([]chan outcome, *randomLabs)
	texts := make([]string, *randomLabs)
	slots := make(chan struct{}, atOnce)
	for i := range results {
		results[i] = make(chan outcome, 1)
		seed := *randomSeed + uint64(i)
		texts[i] = randomLab(rand.New(rand.NewPCG(seed, 0)), fmt.Sprintf("r%d-%d", os.Getpid(), seed))
		file := filepath.Join(dir, fmt.Sprintf("seed-%d.yaml", seed))
		if err := os.WriteFile(file, []byte(texts[i]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, problems, err := topology.Open(file, ""); err != nil {
			t.Fatalf("the lab of seed %d is not valid: %v\n%v\n%s", seed, err, problems, texts[i])
		}
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] <- inProcess(t.Context(), []string{plantedFile + "=" + file})
		}()
	}
	for i := range results {
		t.Run(fmt.Sprintf("seed %d", *randomSeed+uint64(i)), func(t *testing.T) {
			o := <-results[i]
			if o.err != nil || !o.Passed {
				t.Errorf("%v\n%s\n%s", o.err, o.failures(), texts[i])
			}
			t.Logf("%d specs in %.1f s", len(o.Specs), o.Summary.Seconds)
		})
	}
}

// sketch is a random lab in the making. Real servers behind a NAT director are
// its own: their way back leads through it.
type sketch struct {
	*rand.Rand
	strings.Builder
	method    string // of the whole lab
	v6        bool
	directors int
	servers   int // of each director
}

func randomLab(r *rand.Rand, name string) string {
	s := &sketch{Rand: r, method: pick(r, "nat", "nat", "dr", "tun"), directors: 1 + r.IntN(3), servers: 1 + r.IntN(4)}
	s.v6 = s.method != "tun" && r.IntN(3) == 0
	s.line("apiVersion: ipvslab/v1\nname: %s\nnetworks:", name)
	s.line("  out: %q", s.prefix("out"))
	if s.method != "dr" {
		s.line("  in: {prefixes: %q, mtu: 1600}", s.prefix("in"))
	}
	s.line("nodes:")
	for i := range 1 + r.IntN(2) {
		s.node(fmt.Sprintf("client%d", i), "client", fmt.Sprintf("out: %q", s.addr("out", 200+i)))
	}
	if s.method == "tun" {
		s.node("way", "router", fmt.Sprintf("out: %q, in: %q", s.addr("out", 1), s.addr("in", 1)))
	}
	for d := range s.directors {
		ports := fmt.Sprintf("out: %q", s.addr("out", 10+d))
		if s.method != "dr" {
			ports += fmt.Sprintf(", in: %q", s.addr("in", 10+d))
		}
		s.node(fmt.Sprintf("d%d", d), "director", ports)
		for i := range s.servers {
			net := "in"
			if s.method == "dr" {
				net = "out"
			}
			s.node(server(d, i), "realserver", fmt.Sprintf("%s: %q", net, s.addr(net, 20+10*d+i)))
		}
	}
	s.line("services:")
	for d := range s.directors {
		for i := range r.IntN(3) {
			s.service(d, i)
		}
	}
	s.service(0, 3)
	return s.String()
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func server(d, i int) string { return fmt.Sprintf("rs%d%c", d, 'a'+i) }

func (s *sketch) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

func (s *sketch) prefix(net string) string {
	switch {
	case s.v6 && net == "out":
		return "fd00:1::/64"
	case s.v6:
		return "fd00:2::/64"
	case net == "out":
		return "10.60.0.0/24"
	}
	return "10.61.0.0/24"
}

func (s *sketch) addr(net string, host int) string {
	base, _, _ := strings.Cut(s.prefix(net), "/")
	if s.v6 {
		return fmt.Sprintf("%s%x", base, host)
	}
	return strings.TrimSuffix(base, "0") + fmt.Sprint(host)
}

func (s *sketch) node(name, role, interfaces string) {
	s.line("  %s: {role: %s, interfaces: {%s}}", name, role, interfaces)
}

// service writes one of a director's services, each on a VIP of its own.
func (s *sketch) service(d, i int) {
	scheduler := "twos" // of which nothing can be predicted
	for scheduler == "twos" {
		scheduler = pick(s.Rand, oracle.Schedulers()...)
	}
	s.line("  s%d%d:", d, i)
	s.line("    scheduler: %s\n    directors: d%d\n    forwarding: %s", scheduler, d, s.method)
	vip, port := s.addr("out", 100+10*d+i), 80+s.IntN(3)
	udp, sticky := s.IntN(4) == 0, s.IntN(5) == 0
	switch {
	case s.IntN(6) == 0:
		s.line("    fwmark: %d\n    marks: [{vip: %q, ports: %d-%d}]", 1+10*d+i, vip, port, port+2)
	case udp:
		s.line("    vip: %q\n    port: %d\n    protocol: udp\n    onePacket: %t", vip, port, s.method != "nat" && !sticky && s.IntN(2) == 0)
	default:
		s.line("    vip: %q\n    port: %d", vip, port)
	}
	if sticky {
		s.line("    persistence: {timeout: 60s}")
	}
	if flags, ok := map[string]string{"sh": "sh-fallback, sh-port", "mh": "mh-fallback, mh-port"}[scheduler]; ok && s.IntN(2) == 0 {
		s.line("    flags: [%s]", flags)
	}
	s.line("    realServers:")
	heavy := s.IntN(s.servers)
	for j := range s.servers {
		weight := s.IntN(6)
		if j == heavy {
			weight = 1 + s.IntN(9)
		}
		details := fmt.Sprintf("weight: %d", weight)
		if s.method == "tun" {
			details += pick(s.Rand, "", ", tunnel: gre", ", tunnel: {type: gue, port: 6080}", ", tunnel: {type: gue, port: 6080, checksum: csum}")
		}
		if s.IntN(6) == 0 {
			upper := 2 + s.IntN(4)
			details += fmt.Sprintf(", upper: %d, lower: %d", upper, s.IntN(upper))
		}
		s.line("      %s: {%s}", server(d, j), details)
	}
}
