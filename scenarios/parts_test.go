package scenarios

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

func dest(addr string, port uint16, weight int32) lb.Destination {
	return lb.Destination{DestKey: lb.DestKey{Addr: netip.MustParseAddr(addr), Port: port}, Weight: weight}
}

func TestVisits(t *testing.T) {
	for want, weights := range map[int][]int32{
		4:  {1, 1},
		12: {1, 2, 3},
		6:  {0, 0, 0},        // twice each, whatever the weights
		10: {10, 20, 20},     // by their greatest common divisor
		40: {100, 101, 1000}, // bounded
	} {
		s := &service{}
		for _, w := range weights {
			s.Spec.Destinations = append(s.Spec.Destinations, lb.Destination{Weight: w})
		}
		if got := s.visits(); got != want {
			t.Errorf("weights %v: %d visits, want %d", weights, got, want)
		}
	}
}

// Planned destinations are compared in the kernel's order; what it lacks comes last.
func TestInOrder(t *testing.T) {
	a, b, c := dest("10.0.0.1", 80, 1), dest("10.0.0.2", 80, 1), dest("10.0.0.3", 80, 1)
	got := inOrder([]lb.Destination{a, b, c}, []lb.Destination{c, a})
	if diff := cmp.Diff([]string{c.DestKey.String(), a.DestKey.String(), b.DestKey.String()}, keys(got)); diff != "" {
		t.Error(diff)
	}
}

func keys(ds []lb.Destination) []string {
	var out []string
	for _, d := range ds {
		out = append(out, d.DestKey.String())
	}
	return out
}

// A destination with thresholds is added without, then edited: that clears its mark.
func TestStepsToAdd(t *testing.T) {
	plain, bounded := dest("10.0.0.1", 80, 1), dest("10.0.0.1", 80, 1)
	bounded.Upper, bounded.Lower = 5, 2
	if got := stepsToAdd(plain); len(got) != 1 || got[0] != plain {
		t.Errorf("got %v", got)
	}
	if got := stepsToAdd(bounded); len(got) != 2 || got[0] != plain || got[1] != bounded {
		t.Errorf("got %v", got)
	}
}

// Which entries are a service's: those to its address, or to its marks.
func TestServes(t *testing.T) {
	vip := netip.MustParseAddr("10.0.0.100")
	web := &service{Service: topology.Service{Spec: lb.Service{Key: lb.AddrKey(lb.TCP, vip, 80)}}}
	marked := &service{Service: topology.Service{
		Spec:  lb.Service{Key: lb.MarkKey(7, lb.IPv4)},
		Marks: []topology.Mark{{Protocol: lb.TCP, Addr: vip, First: 8000, Last: 8003}},
	}}
	conn := func(p lb.Protocol, virtual, state string) lb.Conn {
		return lb.Conn{Protocol: p, Client: netip.MustParseAddrPort("10.0.0.2:5000"), Virtual: netip.MustParseAddrPort(virtual), State: state}
	}
	template := conn(lb.TCP, "10.0.0.100:80", "NONE")
	template.Client = netip.MustParseAddrPort("10.0.0.2:0")
	markTemplate := conn(0, "0.0.0.7:0", "NONE")
	markTemplate.Client = template.Client
	for _, c := range []struct {
		conn        lb.Conn
		web, marked bool
	}{
		{conn(lb.TCP, "10.0.0.100:80", "ESTABLISHED"), true, false},
		{conn(lb.UDP, "10.0.0.100:80", "UDP"), false, false},
		{conn(lb.TCP, "10.0.0.101:80", "ESTABLISHED"), false, false},
		{conn(lb.TCP, "10.0.0.100:8003", "ESTABLISHED"), false, true},
		{conn(lb.TCP, "10.0.0.100:8004", "ESTABLISHED"), false, false},
		{template, true, false},
		{markTemplate, false, true},
	} {
		if got := web.serves(c.conn); got != c.web {
			t.Errorf("%v of web: %t", c.conn, got)
		}
		if got := marked.serves(c.conn); got != c.marked {
			t.Errorf("%v of the mark: %t", c.conn, got)
		}
	}
}

// A service to which no connection is tried is one that the verdict does not rest on.
func TestUnvisited(t *testing.T) {
	file, err := topology.Parse("t.yaml", []byte(`
apiVersion: ipvslab/v1
networks: {o: 10.0.0.0/24, i: [10.1.0.0/24, "fd01::/64"]}
nodes:
  client: {role: client, interfaces: {o: 10.0.0.2}}
  director: {role: director, interfaces: {o: 10.0.0.1, i: [10.1.0.1, "fd01::1"]}}
  rs: {role: realserver, interfaces: {i: [10.1.0.11, "fd01::11"]}}
  own: {role: realserver, interfaces: {i: 10.1.0.12}, run: {server: [server]}}
services:
  visited: {vip: 10.0.0.100, port: 80, realServers: [rs]}
  shut: {vip: 10.0.0.100, port: 81, realServers: {rs: 0}}
  streams: {vip: 10.0.0.100, port: 82, protocol: sctp, realServers: [rs]}
  unmarked: {fwmark: 7, realServers: [rs]}
  silent: {vip: 10.0.0.100, port: 83, protocol: udp, realServers: [own]}
  far: {vip: "fd01::100", port: 80, realServers: [rs]}
  refused: {vip: 10.0.0.100, port: 84, realServers: {rs: 0}}
scenarios:
  none takes it: {service: refused, expect: refused}
`))
	if err != nil {
		t.Fatal(err)
	}
	plan, problems := file.Plan(topology.Options{})
	if plan == nil {
		t.Fatal(problems)
	}
	got := map[string]string{}
	for _, p := range plan.Services {
		got[p.Name] = newService(&stage{plan: plan}, p).unvisited()
	}
	if diff := cmp.Diff(map[string]string{
		"visited":  "",
		"shut":     "no real server takes connections",
		"streams":  "",
		"unmarked": "no address and port of it is known; say marks:, or what its real servers serve",
		"silent":   "programs of your own that speak udp may never answer",
		"far":      "there is no client with an IPv6 address",
		"refused":  "", // by the file's own scenario
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Two destinations that answer alike are told apart by their addresses.
func TestLabels(t *testing.T) {
	s := &service{names: []string{"a", "b", "a"}}
	s.Spec.Destinations = []lb.Destination{dest("10.0.0.1", 80, 1), dest("10.0.0.2", 80, 1), dest("10.0.0.1", 81, 1)}
	if diff := cmp.Diff([]string{"a@10.0.0.1:80", "b", "a@10.0.0.1:81"}, []string{s.label(0), s.label(1), s.label(2)}); diff != "" {
		t.Error(diff)
	}
}

func TestFileName(t *testing.T) {
	if got, want := fileName("scenario: two words/and more"), "scenario-two-words-and-more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What a reader sees of a verdict.
func TestTeller(t *testing.T) {
	report := func(name string, state types.SpecState, message string) types.SpecReport {
		r := types.SpecReport{ContainerHierarchyTexts: []string{"labs", "minimal"}, LeafNodeText: name, LeafNodeType: types.NodeTypeIt, State: state}
		r.Failure.Message = message
		return r
	}
	var out bytes.Buffer
	tl := &teller{Options: Options{Out: &out}, ctx: t.Context()}
	tl.tell(report("works", types.SpecStatePassed, ""))
	tl.tell(report("breaks", types.SpecStateFailed, "expected this\ngot that"))
	tl.tell(report("out of focus", types.SpecStateSkipped, ""))
	tl.tell(report("after a failure", types.SpecStateSkipped, "skipped because the lab is not up"))
	if err := tl.end(false); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"minimal\n  ok    works  (0.00 s)\n", "  FAIL  breaks  (0.00 s)\n        expected this\n        got that\n",
		"FAILED: 1 of 2 specs", "  minimal: breaks\n", "  1 more could not be run\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

// A spec that Ctrl-C ended is no verdict about the lab.
func TestTellerOfAnInterruptedRun(t *testing.T) {
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tl := &teller{Options: Options{Out: &out}, ctx: ctx}
	r := types.SpecReport{ContainerHierarchyTexts: []string{"labs", "minimal"}, LeafNodeText: "works", State: types.SpecStateFailed}
	r.Failure.Message = "context canceled"
	tl.tell(r)
	if err := tl.end(false); err != nil {
		t.Fatal(err)
	}
	want := "minimal\n  cut   works  (0.00 s)\ninterrupted after 1 specs; none of them failed\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if got := tl.summary.Specs[0].State; got != "interrupted" {
		t.Errorf("state %q", got)
	}
}

// What has gone wrong since, below the headings that it belongs to.
func TestNews(t *testing.T) {
	before := errors.New("node rs1 is not as planned:\nroute a is missing\nnode rs2 is not as planned:\nroute b is missing")
	now := errors.New("node rs1 is not as planned:\nroute a is missing\nnode rs2 is not as planned:\nroute b is missing\nroute c is missing")
	for name, c := range map[string]struct {
		now, before error
		want        []string
	}{
		"nothing was ever wrong": {},
		"mended":                 {before: before},
		"as before":              {now: now, before: now},
		"all of it":              {now: before, want: strings.Split(before.Error(), "\n")},
		"one line":               {now: now, before: before, want: []string{"node rs2 is not as planned:", "route c is missing"}},
	} {
		if diff := cmp.Diff(c.want, news(c.now, c.before)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Rules and routes are compared as the kernel tells them.
func TestIsRule(t *testing.T) {
	_, all, _ := net.ParseCIDR("10.0.0.0/8")
	rule := func() netlink.Rule {
		r := *netlink.NewRule()
		r.Family, r.Priority, r.Src, r.Table = unix.AF_INET, 32765, all, 77
		return r
	}
	for _, c := range []struct {
		want topology.Rule
		is   bool
	}{
		{topology.Rule{Family: lb.IPv4, From: netip.MustParsePrefix("10.9.0.0/8"), To: netip.MustParsePrefix("0.0.0.0/0"), Table: 77}, true},
		{topology.Rule{Family: lb.IPv4, Priority: 32765, From: netip.MustParsePrefix("10.0.0.0/8"), Table: 77}, true},
		{topology.Rule{Family: lb.IPv4, Priority: 5, From: netip.MustParsePrefix("10.0.0.0/8"), Table: 77}, false},
		{topology.Rule{Family: lb.IPv4, From: netip.MustParsePrefix("10.0.0.0/8"), Table: 78}, false},
		{topology.Rule{Family: lb.IPv4, From: netip.MustParsePrefix("10.0.0.0/8"), FWMark: 1, Table: 77}, false},
		{topology.Rule{Family: lb.IPv4, Table: 77}, false},
	} {
		if got := isRule(rule(), c.want); got != c.is {
			t.Errorf("%+v: %t", c.want, got)
		}
	}
	whole, part := uint32(math.MaxUint32), uint32(0xff)
	unmarked := rule()
	unmarked.Mask = &part
	if isRule(unmarked, topology.Rule{Family: lb.IPv4, From: netip.MustParsePrefix("10.0.0.0/8"), Table: 77}) {
		t.Error("a rule for packets with some bits of a mark unset was taken for one for all packets")
	}
	for _, c := range []struct {
		more func(r *netlink.Rule)
		is   bool
		text string
	}{
		{func(r *netlink.Rule) { r.Mask = &whole }, true, "lookup 77"},
		{func(r *netlink.Rule) { r.Mask = &part }, false, "with mask 0xff lookup 77"},
		{func(r *netlink.Rule) { r.Invert = true }, false, "(but not these) lookup 77"},
		{func(r *netlink.Rule) { r.OifName = "eth0" }, false, "oif eth0 lookup 77"},
		{func(r *netlink.Rule) { r.Tos = 8 }, false, "tos 0x8 lookup 77"},
		{func(r *netlink.Rule) { r.UIDRange = netlink.NewRuleUIDRange(0, 5) }, false, "uidrange 0-5 lookup 77"},
		{func(r *netlink.Rule) { r.IPProto, r.Dport = unix.IPPROTO_TCP, netlink.NewRulePortRange(80, 81) }, false, "ipproto 6 dport 80-81 lookup 77"},
		{func(r *netlink.Rule) { r.Sport = netlink.NewRulePortRange(80, 80) }, false, "sport 80-80 lookup 77"},
		{func(r *netlink.Rule) { r.SuppressPrefixlen = 0 }, false, "suppress_prefixlength 0 lookup 77"},
		{func(r *netlink.Rule) { r.Goto = 9 }, false, "goto 9"},
		{func(r *netlink.Rule) { r.Table = 0 }, false, "blackhole, unreachable, prohibit or nop: ip rule tells"},
	} {
		have := rule()
		have.Mark = 3
		c.more(&have)
		if got := isRule(have, topology.Rule{Family: lb.IPv4, From: netip.MustParsePrefix("10.0.0.0/8"), FWMark: 3, Table: 77}); got != c.is {
			t.Errorf("%+v: %t", have, got)
		}
		if got, want := kernelRuleText(have), "32765: from 10.0.0.0/8 fwmark 0x3 "+c.text+" (IPv4)"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
