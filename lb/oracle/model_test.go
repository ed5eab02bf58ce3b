package oracle_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// Real server n is 10.0.1.n:80; client n comes from 10.0.0.1, port 1000+n.
func server(n int, weight int32) lb.Destination {
	addr := netip.AddrFrom4([4]byte{10, 0, 1, byte(n)})
	return lb.Destination{DestKey: lb.DestKey{Addr: addr, Port: 80}, Weight: weight}
}

func client(n int) oracle.Conn {
	return oracle.Conn{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(1000+n))}
}

func clients(from, n int) []oracle.Conn {
	conns := make([]oracle.Conn, n)
	for i := range conns {
		conns[i] = client(from + i)
	}
	return conns
}

// service has a real server of each weight, added in order.
func service(scheduler string, weights ...int32) lb.Service {
	s := lb.Service{
		Key:       lb.AddrKey(lb.TCP, netip.MustParseAddr("10.0.0.100"), 80),
		Scheduler: scheduler,
	}
	for i, w := range weights {
		s.Destinations = append(s.Destinations, server(i+1, w))
	}
	return s
}

func model(t *testing.T, s lb.Service, v oracle.Variant) *oracle.Model {
	t.Helper()
	m, err := oracle.New(s, v)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// picks renders outcomes as real servers' numbers, "-" for refused.
func picks(out []oracle.Outcome) string {
	var words []string
	for _, o := range out {
		if !o.OK {
			words = append(words, "-")
			continue
		}
		words = append(words, fmt.Sprint(o.Dest.Addr.As4()[3]))
	}
	return strings.Join(words, " ")
}

func wantPicks(t *testing.T, out []oracle.Outcome, want string) {
	t.Helper()
	if diff := cmp.Diff(want, picks(out)); diff != "" {
		t.Errorf("picks (-want +got):\n%s", diff)
	}
}

// The sequences were recorded from a Debian 6.1 kernel, but for rr, lc and fo,
// which follow from their source.
func TestRecordedSequences(t *testing.T) {
	for _, c := range []struct {
		scheduler string
		oneByOne  bool
		want      string
	}{
		{"rr", true, "3 2 1 3 2 1 3"},
		{"wrr", true, "3 2 1 3 3 2 3 2 1"},
		{"wlc", false, "3 2 1 3 2 3 3 2 1 3 2 3"},
		{"lc", false, "3 2 1 3 2 1"},
		{"sed", false, "3 2 3 3 2 1 3 2 3 3 2 1"},
		{"nq", false, "3 2 1 3 3 2 3 2 3 3 2 1"},
		{"sed", true, "3 3 3 3"},
		{"nq", true, "3 3 3 3"},
		{"fo", false, "3 3 3 3 3"},
		{"ovf", false, "3 3 3 3 2 2 2 1 1 - -"},
	} {
		t.Run(fmt.Sprintf("%s/oneByOne=%t", c.scheduler, c.oneByOne), func(t *testing.T) {
			m := model(t, service(c.scheduler, 1, 2, 3), oracle.Variant{})
			run := m.Held
			if c.oneByOne {
				run = m.OneByOne
			}
			wantPicks(t, run(clients(0, len(strings.Fields(c.want)))...), c.want)
		})
	}
}

func TestRoundRobinCursor(t *testing.T) {
	m := model(t, service("rr", 1, 1, 1, 1), oracle.Variant{}) // list: 4 3 2 1
	wantPicks(t, m.Held(clients(0, 2)...), "4 3")
	must(t, m.Remove(server(3, 1).DestKey)) // the cursor's: moves back to 4
	wantPicks(t, m.Held(clients(2, 2)...), "2 1")
	must(t, m.Add(server(5, 1))) // list: 5 4 2 1
	wantPicks(t, m.Held(clients(4, 1)...), "5")
	must(t, m.Remove(server(5, 1).DestKey)) // the cursor is the head now
	must(t, m.Edit(server(4, 0)))
	wantPicks(t, m.Held(clients(5, 3)...), "2 1 2")
}

func TestDestinationErrors(t *testing.T) {
	m := model(t, service("rr", 1), oracle.Variant{})
	low := server(2, 1)
	low.Lower = 1
	for _, c := range []struct {
		err  error
		want error
	}{
		{m.Add(server(1, 1)), oracle.ErrExists},
		{m.Edit(server(9, 1)), oracle.ErrNotFound},
		{m.Remove(server(9, 1).DestKey), oracle.ErrNotFound},
		{m.Add(server(2, -1)), oracle.ErrWeight},
		{m.Add(low), oracle.ErrThreshold},
		{m.Close(client(1)), oracle.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("error %v is not %v", c.err, c.want)
		}
	}
	if _, err := oracle.New(service("best"), oracle.Variant{}); !errors.Is(err, oracle.ErrScheduler) {
		t.Errorf("unknown scheduler: %v", err)
	}
}

func TestOverload(t *testing.T) {
	for _, c := range []struct {
		rule         oracle.Overload
		upper, lower uint32
		closed       int    // connections gone before the mark goes
		afterEdit    string // picks after upper was lowered to the present total
	}{
		{oracle.OnBind, 4, 0, 2, "1 -"},     // 2*4 < 4*3, but not 3*4
		{oracle.OnBind, 4, 2, 3, "1 -"},     // 1 < 2
		{oracle.OnCrossing, 4, 0, 2, "- -"}, // below 4-1 = 3
		{oracle.OnCrossing, 4, 2, 3, "- -"}, // below 2
	} {
		t.Run(fmt.Sprintf("%s/%d/%d", c.rule, c.upper, c.lower), func(t *testing.T) {
			d := server(1, 1)
			d.Upper, d.Lower = c.upper, c.lower
			s := service("rr")
			s.Destinations = []lb.Destination{d}
			m := model(t, s, oracle.Variant{Overload: c.rule})
			wantPicks(t, m.Held(clients(0, 5)...), "1 1 1 1 -")
			for i := range c.closed {
				if _, ok := m.Pick(client(100)); ok {
					t.Fatalf("picked with %d of 4 connections closed", i)
				}
				must(t, m.Close(client(i)))
			}
			if m.Destinations()[0].Overloaded {
				t.Errorf("still overloaded with %d of 4 connections closed", c.closed)
			}
			d.Upper = uint32(4 - c.closed)
			d.Lower = 0
			must(t, m.Edit(d))
			wantPicks(t, m.Held(clients(10, 2)...), c.afterEdit)
		})
	}
}

// TestResurrection: a removed destination comes back with its connections.
func TestResurrection(t *testing.T) {
	m := model(t, service("lc", 1, 1), oracle.Variant{}) // list: 2 1
	wantPicks(t, m.Held(clients(0, 1)...), "2")
	must(t, m.Remove(server(2, 1).DestKey))
	must(t, m.Add(server(2, 1)))
	wantPicks(t, m.Held(clients(1, 1)...), "1")
	must(t, m.Close(client(0)))
	must(t, m.Remove(server(2, 1).DestKey))
	m.EmptyTrash()
	must(t, m.Add(server(2, 1)))
	want := []oracle.State{
		{Dest: server(2, 1).DestKey, Weight: 1},
		{Dest: server(1, 1).DestKey, Weight: 1, Active: 1},
	}
	if diff := cmp.Diff(want, m.Destinations(), cmp.Comparer(func(a, b lb.DestKey) bool { return a == b })); diff != "" {
		t.Errorf("destinations (-want +got):\n%s", diff)
	}
}

func TestPersistence(t *testing.T) {
	from := func(addr string) oracle.Conn {
		return oracle.Conn{Client: netip.MustParseAddrPort(addr)}
	}
	s := service("rr", 1, 1, 1)
	s.Timeout = 300 * time.Second
	s.MaskBits = 24
	m := model(t, s, oracle.Variant{})
	wantPicks(t, m.Held(from("10.1.0.1:1"), from("10.1.0.2:1"), from("10.1.1.1:1"), from("10.1.0.3:1")), "3 3 2 3")
	must(t, m.Edit(server(3, 0))) // quiesced: the template is still used
	wantPicks(t, m.Held(from("10.1.0.4:1")), "3")
	must(t, m.Remove(server(3, 0).DestKey))
	wantPicks(t, m.Held(from("10.1.0.5:1"), from("10.1.0.6:1")), "1 1")
	if err := m.ExpireTemplate(from("10.1.0.9:1")); !errors.Is(err, oracle.ErrInUse) {
		t.Errorf("expire a template in use: %v", err)
	}
	must(t, m.Close(from("10.1.1.1:1")))
	must(t, m.ExpireTemplate(from("10.1.1.1:1")))
	wantPicks(t, m.Held(from("10.1.1.2:1")), "2")

	m = model(t, s, oracle.Variant{Settings: oracle.Settings{ExpireQuiescentTemplate: true}})
	wantPicks(t, m.Held(from("10.1.0.1:1")), "3")
	must(t, m.Edit(server(3, 0)))
	wantPicks(t, m.Held(from("10.1.0.2:1")), "2")
}

func TestReusedClientPort(t *testing.T) {
	m := model(t, service("rr", 1, 1), oracle.Variant{})
	wantPicks(t, m.Held(client(1), client(1)), "2 2") // the same connection
	must(t, m.Finish(client(1)))
	wantPicks(t, m.Held(client(1)), "1")
	total := 0
	for _, d := range m.Destinations() {
		total += d.Active + d.Inactive
	}
	if total != 1 {
		t.Errorf("%d entries, want 1", total)
	}
}

func TestOnePacket(t *testing.T) {
	s := service("rr", 1, 1)
	s.Protocol = lb.UDP
	s.Flags = lb.OnePacket
	m := model(t, s, oracle.Variant{})
	wantPicks(t, m.Held(client(1), client(1), client(1)), "2 1 2")
}

// TestReusedPortCountsTwice: the entry that gives way still counts in the choice.
func TestReusedPortCountsTwice(t *testing.T) {
	m := model(t, service("lc", 1, 1), oracle.Variant{})
	wantPicks(t, m.OneByOne(client(1), client(1)), "2 1")
}

// TestEditOfTheSameThreshold does not clear the mark.
func TestEditOfTheSameThreshold(t *testing.T) {
	d := server(1, 1)
	d.Upper = 1
	m := model(t, service("rr"), oracle.Variant{})
	must(t, m.Add(d))
	wantPicks(t, m.Held(client(1)), "1")
	d.Weight = 5
	must(t, m.Edit(d))
	wantPicks(t, m.Held(client(2)), "-")
	d.Upper = 2
	must(t, m.Edit(d))
	wantPicks(t, m.Held(client(3), client(4)), "1 -")
}

// TestReplicationSetShrinks: after lblcr_expiration the set loses its most
// loaded destination, and no longer goes back to it when it is idle.
func TestReplicationSetShrinks(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration
		want string
	}{{24 * time.Hour, "1 2"}, {24*time.Hour + time.Second, "1 1"}} {
		m := model(t, service("lblcr", 10, 1), oracle.Variant{})
		wantPicks(t, m.Held(clients(0, 3)...), "2 2 1") // 2 is crowded by its second
		m.Advance(c.wait)
		got := m.Held(client(3))
		must(t, m.Close(client(0)))
		must(t, m.Close(client(1)))
		wantPicks(t, append(got, m.Held(client(4))...), c.want)
	}
}
