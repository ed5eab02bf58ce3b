package lab_test

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

// TestCrowd holds thousands of connections open at once through the VIP, from
// 200 client addresses: all are answered and counted, none is cut, and all of
// it fits into a guest's memory.
func TestCrowd(t *testing.T) {
	needIPVS(t)
	stateRoot(t)
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	l := up(t, plan(t, "crowd.yaml", labName("crowd")), lab.Options{})
	client, err := l.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := traffic.PlanSources(netip.MustParsePrefix("198.18.0.0/16"), 200, 0)
	if err != nil {
		t.Fatal(err)
	}
	before, start := availableMemory(t), time.Now()
	s, err := traffic.NewSession(client.Do, traffic.Spec{
		Protocol: traffic.TCP, To: netip.MustParseAddrPort("10.9.0.100:80"),
		Concurrency: 64, Hold: true, Sources: sources, Timeout: time.Minute, SumsOnly: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Open(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if res := s.Result(); res.Answered() != n || len(s.Held()) != n {
		t.Fatalf("%d answered and %d held of %d: %v", res.Answered(), len(s.Held()), n, res.Errors)
	}
	used := before - availableMemory(t)
	t.Logf("%d connections in %v, %d MiB, %.1f KiB each", n, time.Since(start).Round(time.Millisecond), used>>10, float64(used)/float64(n))

	director, err := l.Node("director")
	if err != nil {
		t.Fatal(err)
	}
	table, err := director.Table(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	services, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	active := 0
	for _, d := range services[0].Destinations {
		active += int(d.Counters.Active)
		if share := int(d.Counters.Active) - n/3; share < 0 || share > 1 {
			t.Errorf("%v has %d of %d connections", d.DestKey, d.Counters.Active, n)
		}
	}
	if active != n {
		t.Errorf("%d active connections by the director, want %d", active, n)
	}
	var some []int
	for i := range n / 100 {
		some = append(some, i*100)
	}
	checked, err := s.Check(t.Context(), some...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checked {
		if c.Outcome != traffic.Answered {
			t.Errorf("held connection %d: %s %s", c.Index, c.Outcome, c.Kind)
		}
	}
}

// availableMemory is what can be had without swapping, in KiB (proc_meminfo(5)).
func availableMemory(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("no MemAvailable in /proc/meminfo")
	return 0
}
