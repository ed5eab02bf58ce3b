package oracle_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// soak is how long the random tester goes on.
var soak = flag.Duration("soak", 0, "go on with random runs for that long")

// TestRandomRunsInTheKernel plays random events on the kernel and the model,
// side by side, and stops at the first difference, which rapid shortens. The
// failure's script can be read by predict. Flags: -soak, -rapid.seed,
// -rapid.checks, -rapid.steps.
func TestRandomRunsInTheKernel(t *testing.T) {
	needKernel(t, probe.IPVS)
	variant := kernelVariant(t)
	features := probe.Only(context.Background(), probe.All()...)
	var schedulers []string
	for _, s := range oracle.Schedulers() {
		if s != "twos" && features.Has(probe.Scheduler(s)) {
			schedulers = append(schedulers, s)
		}
	}
	marks := features.Has(probe.SkbEdit)
	deadline := time.Now().Add(*soak)
	for first := true; first || time.Now().Before(deadline) && !t.Failed(); first = false {
		rapid.Check(t, func(t *rapid.T) {
			m := newMachine(t, schedulers, marks, variant)
			defer m.close()
			t.Repeat(map[string]func(*rapid.T){
				"open":      m.open,
				"open more": m.open, // more often than the others
				"reopen":    m.reopen,
				"fin":       m.fin,
				"add":       m.add,
				"edit":      m.edit,
				"remove":    m.remove,
				"time":      m.passTime,
				"service":   m.editService,
				"":          func(*rapid.T) { m.compareCounts() },
			})
		})
	}
}

// machine is the random tester's state: the pair, and what has been opened.
type machine struct {
	*pair
	conns    []*openConn
	protocol lb.Protocol
	serial   int
}

type openConn struct {
	oracle.Conn
	to    lb.DestKey
	ended bool // TIME_WAIT
}

func newMachine(t *rapid.T, schedulers []string, marks bool, v oracle.Variant) *machine {
	family := rapid.SampledFrom([]lb.Family{lb.IPv4, lb.IPv6}).Draw(t, "family")
	protocol := rapid.SampledFrom([]lb.Protocol{lb.TCP, lb.UDP}).Draw(t, "protocol")
	s := lb.Service{Key: lb.AddrKey(protocol, kernelVIP(family, 1), 80)}
	if marks && rapid.Bool().Draw(t, "firewall mark") {
		s.Key = lb.MarkKey(7, family)
	}
	drawService(t, &s, schedulers)
	v.Settings = oracle.Settings{
		ExpireQuiescentTemplate: rapid.Bool().Draw(t, "expire_quiescent_template"),
		NoConnReuse:             rapid.Bool().Draw(t, "no conn_reuse_mode"),
	}
	for range rapid.IntRange(0, 5).Draw(t, "destinations") {
		d := drawDest(t, family)
		if d.Lower <= d.Upper && !slices.ContainsFunc(s.Destinations, func(o lb.Destination) bool { return o.DestKey == d.DestKey }) {
			s.Destinations = append(s.Destinations, d)
		}
	}
	m := &machine{protocol: protocol}
	m.pair = newPair(&scripted{t, m}, s, v)
	for key, on := range map[string]bool{
		"net.ipv4.vs.expire_quiescent_template": v.Settings.ExpireQuiescentTemplate,
		"net.ipv4.vs.conn_reuse_mode":           !v.Settings.NoConnReuse,
	} {
		value := "0"
		if on {
			value = "1"
		}
		if err := m.director.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func drawService(t *rapid.T, s *lb.Service, schedulers []string) {
	s.Scheduler = rapid.SampledFrom(schedulers).Draw(t, "scheduler")
	s.Flags = lb.Flags(rapid.SampledFrom([]uint32{0, 0x8, 0x10, 0x18, 0x4}).Draw(t, "flags"))
	s.Timeout, s.MaskBits = 0, 0
	if rapid.IntRange(0, 2).Draw(t, "persistent") == 0 {
		s.Timeout = 300 * time.Second
		masks := []uint8{0, 8, 24}
		if s.Family == lb.IPv6 {
			masks = []uint8{0, 64, 124}
		}
		s.MaskBits = rapid.SampledFrom(masks).Draw(t, "mask")
	}
}

// scripted adds the script to a failure's message.
type scripted struct {
	*rapid.T
	m *machine
}

func (s *scripted) Fatalf(format string, args ...any) {
	s.T.Helper()
	s.T.Fatalf("%s\n\nscript:\n%s", fmt.Sprintf(format, args...), s.m.script)
}

func (s *scripted) Fatal(args ...any) { s.T.Helper(); s.Fatalf("%s", fmt.Sprintln(args...)) }

func (m *machine) open(t *rapid.T) {
	m.serial++
	c := kernelClient(m.service.Family, rapid.IntRange(0, 40).Draw(t, "client address"))
	c.Client = netip.AddrPortFrom(c.Client.Addr(), uint16(1024+m.serial))
	c.Protocol = m.protocol
	c.Virtual = netip.AddrPortFrom(kernelVIP(m.service.Family, 1), 80)
	if m.service.FWMark != 0 {
		c.Virtual = netip.AddrPortFrom(kernelVIP(m.service.Family, rapid.IntRange(1, 6).Draw(t, "virtual address")), 80)
	}
	out := m.pair.open(c)
	if out.OK && (m.protocol != lb.UDP || m.service.Flags&lb.OnePacket == 0) {
		m.conns = append(m.conns, &openConn{Conn: c, to: out.Dest})
	}
}

// reopen uses a client's port once more.
func (m *machine) reopen(t *rapid.T) {
	c := m.drawConn(t)
	if !m.present(c.to) && (!c.ended || m.script.Variant.Settings.NoConnReuse || m.service.Timeout > 0) {
		t.Skip("its packets are dropped")
	}
	out := m.pair.open(c.Conn)
	if !out.OK {
		m.conns = slices.DeleteFunc(m.conns, func(o *openConn) bool { return o == c })
	}
	c.to, c.ended = out.Dest, false
}

func (m *machine) fin(t *rapid.T) {
	c := m.drawConn(t)
	if m.protocol != lb.TCP || c.ended {
		t.Skip("nothing to end")
	}
	c.ended = m.present(c.to)
	m.finish(c.Conn, c.to)
}

func (m *machine) drawConn(t *rapid.T) *openConn {
	if len(m.conns) == 0 {
		t.Skip("no connections")
	}
	return m.conns[rapid.IntRange(0, len(m.conns)-1).Draw(t, "connection")]
}

func drawDest(t *rapid.T, f lb.Family) lb.Destination {
	d := kernelServer(f, rapid.IntRange(1, 6).Draw(t, "server"), 0)
	d.Weight = rapid.SampledFrom([]int32{0, 1, 2, 3, 4, 6, 10, 100, 999}).Draw(t, "weight")
	if rapid.IntRange(0, 2).Draw(t, "thresholds") == 0 {
		d.Upper = uint32(rapid.IntRange(1, 12).Draw(t, "upper"))
		d.Lower = uint32(rapid.IntRange(0, 12).Draw(t, "lower"))
	}
	return d
}

// add may add one that is there already: both must refuse.
func (m *machine) add(t *rapid.T) { m.pair.add(drawDest(t, m.service.Family)) }

func (m *machine) edit(t *rapid.T) { m.pair.edit(drawDest(t, m.service.Family)) }

func (m *machine) remove(t *rapid.T) {
	m.pair.remove(kernelServer(m.service.Family, rapid.IntRange(1, 6).Draw(t, "server"), 0).DestKey)
}

// editService keeps the scheduler: its state must live on. A script can't say
// it, so the printed one begins with the service's last form.
func (m *machine) editService(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "rarely") != 0 {
		t.Skip("not now")
	}
	s := m.service
	if s.Flags&lb.OnePacket == 0 {
		s.Flags = lb.Flags(rapid.SampledFrom([]uint32{0, 0x8, 0x10, 0x18}).Draw(t, "flags"))
	}
	m.pair.editService(s)
	m.script.Service.Flags = s.Flags
}

// passTime has a few connections expire: their timers are set to a second by
// another packet each, and all others left as they are.
func (m *machine) passTime(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "rarely") != 0 {
		t.Skip("not now")
	}
	var chosen []*openConn
	for _, c := range m.conns {
		if !c.ended && m.present(c.to) && rapid.Bool().Draw(t, "expires") {
			chosen = append(chosen, c)
		}
	}
	if chosen == nil {
		t.Skip("nothing to expire")
	}
	m.setTimeouts(lb.Timeouts{TCP: time.Second, UDP: time.Second})
	for _, c := range chosen {
		fate, _, err := m.director.Offer(m.packet(c.Conn, director.ACK))
		if err != nil || fate != director.Forwarded {
			m.Fatalf("packet of %v was %s: %v", c.Client, fate, err)
		}
	}
	m.setTimeouts(lb.Timeouts{TCP: 900 * time.Second, UDP: 300 * time.Second})
	for _, c := range chosen {
		m.note(predict.Event{Verb: predict.Close, Conn: c.Conn})
		if err := m.model.Close(c.Conn); err != nil {
			m.Fatal(err)
		}
		m.conns = slices.DeleteFunc(m.conns, func(o *openConn) bool { return o == c })
	}
	m.compareCounts() // waits
}

func (m *machine) setTimeouts(to lb.Timeouts) {
	if err := m.table.SetTimeouts(context.Background(), to); err != nil {
		m.Fatal(err)
	}
}

// TestScriptOfAFailure: what the tester prints can be read again.
func TestScriptOfAFailure(t *testing.T) {
	in := predict.Input{Service: service("wrr", 1, 2)}
	in.Events = []predict.Event{{Verb: predict.Open, Conn: client(1)}}
	again, err := predict.Parse(strings.NewReader(in.String()))
	if err != nil || again.String() != in.String() {
		t.Errorf("%v\n%s", err, again)
	}
}
