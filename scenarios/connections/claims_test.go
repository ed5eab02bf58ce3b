package connections_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/internal/probe"
)

const settingsHeading = "Settings of net.ipv4.vs"

var update = flag.Bool("update", false, "rewrite docs/connections.md")

// claim is a rule of the kernel's, shown by playing the same packets with one
// thing different.
type claim struct {
	name string // the setting's, below net.ipv4.vs, or the rule's
	// does is what the rule is, and source where the kernel has it.
	does, source string
	// cannot says why the setting can't be shown; variants are then the proof.
	cannot   string
	needs    []string // features, by internal/probe's names
	optional bool     // a kernel may lack the setting
	waits    bool     // for the kernel's timers: best done beside others
	play     func(b *bench, value string)
	variants []variant
}

// variant is one of the values, what a reader is told of it, and the account
// that the kernel has to make true.
type variant struct {
	value string
	shows string
	want  []string
	// older is what a kernel makes of it that doesn't have a later change.
	older []string
}

// claims are all, by the heading they have in docs/connections.md.
func claims() []struct {
	heading string
	list    []claim
} {
	return []struct {
		heading string
		list    []claim
	}{
		{settingsHeading, settings()},
		{"States and timers", states()},
		{"Changes in mid-stream", changes()},
		{"Persistence", persistence()},
		{"Packets on the wire", packets()},
	}
}

func TestClaims(t *testing.T) {
	for _, group := range claims() {
		for _, c := range group.list {
			t.Run(c.name, func(t *testing.T) {
				if c.play == nil {
					return // TestReference sees that there is a reason
				}
				needKernel(t, c.needs...)
				if c.waits {
					t.Parallel()
				}
				c.prove(t)
			})
		}
	}
}

// prove plays each variant. What is claimed of a variant must be seen with it,
// and must not be seen with another: the others are the planted defect of a
// value that is ignored.
func (c claim) prove(t *testing.T) {
	accounts := make([][]string, len(c.variants))
	for i, v := range c.variants {
		b := newBench(t)
		if c.optional {
			if _, err := b.ReadFile("/proc/sys/net/ipv4/vs/" + c.name); os.IsNotExist(err) {
				t.Skipf("this kernel has no net.ipv4.vs.%s: %v", c.name, err)
			}
		}
		c.play(b, v.value)
		accounts[i] = b.account
		if v.older != nil && cmp.Equal(v.older, b.account) {
			t.Logf("%s=%s: this kernel has the older rule", c.name, v.value)
			continue
		}
		if diff := cmp.Diff(v.want, b.account); diff != "" {
			t.Errorf("%s=%s is to show that %s (%s); -claimed +seen:\n%s\nseen in full:\n%s",
				c.name, v.value, v.shows, c.source, diff, quoted(b.account))
		}
	}
	for i, v := range c.variants {
		for j, other := range c.variants {
			if c.cannot == "" && i != j && cmp.Equal(v.want, accounts[j]) {
				t.Errorf("%s=%s shows what is claimed of %s: the claim would not notice if the value were ignored", c.name, other.value, v.value)
			}
		}
	}
}

func quoted(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "\t%q,\n", l)
	}
	return b.String()
}

// TestEverySettingIsClaimed: what this kernel has under net.ipv4.vs is shown,
// or there is a line that says why it can't be.
func TestEverySettingIsClaimed(t *testing.T) {
	needKernel(t)
	b := newBench(t)
	var files []os.DirEntry
	b.must(b.Do(func() (err error) {
		files, err = os.ReadDir("/proc/sys/net/ipv4/vs")
		return err
	}))
	if len(files) == 0 {
		t.Fatal("net.ipv4.vs is empty")
	}
	for _, f := range files {
		if !slices.ContainsFunc(settings(), func(c claim) bool { return slices.Contains(strings.Fields(c.name), f.Name()) }) {
			t.Errorf("nothing is claimed of net.ipv4.vs.%s", f.Name())
		}
	}
}

// TestChatterIsPassedOver: what the kernel says of itself must not be taken for
// what it makes of a packet, which may come a little later.
func TestChatterIsPassedOver(t *testing.T) {
	needKernel(t)
	b := newBench(t)
	sent := func() (n int) {
		b.Helper()
		netstat, err := b.ReadFile("/proc/thread-self/net/snmp")
		b.must(err)
		for line := range strings.Lines(string(netstat)) {
			// Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams
			// InUnknownProtos InDiscards InDelivers OutRequests
			if f := strings.Fields(line); f[0] == "Ip:" && f[10] != "OutRequests" {
				n, err = strconv.Atoi(f[10])
				b.must(err)
			}
		}
		return n
	}
	_, err := b.Drain() // what came of the links being set up
	b.must(err)
	before := sent()
	b.must(b.Do(func() error {
		clients, err := net.InterfaceByName("clients")
		if err != nil {
			return err
		}
		c, err := net.ListenMulticastUDP("udp4", clients, &net.UDPAddr{IP: net.IPv4(239, 1, 1, 1), Port: 9999})
		if err == nil {
			t.Cleanup(func() { b.must(c.Close()) })
		}
		return err
	}))
	b.await("the report of a group", settleTimeout, func() bool { return sent() > before })
	if seen, err := b.Drain(); err != nil || len(seen) > 0 {
		t.Errorf("seen: %v, %v", seen, err)
	}
}

// needKernel skips unless this kernel has IPVS and what else is needed, and
// proves it by trying.
func needKernel(t *testing.T, features ...string) {
	t.Helper()
	names := append([]string{probe.NetAdmin, probe.SysAdmin, probe.IPVS}, features...)
	missing := probe.Only(context.Background(), names...).Missing(names...)
	if missing == nil {
		return
	}
	// A kernel may lack a link type or a module; but that has to be shown.
	lacks := !slices.ContainsFunc(missing, func(f probe.Feature) bool { return f.State != probe.No || !slices.Contains(features, f.Name) })
	if os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" && !lacks {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// TestMain has the claims wait for the kernel's timers side by side, also where
// there is one processor.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}
