package oracle_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/replay"
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
	w := world{schedulers, []lb.Protocol{lb.TCP, lb.UDP}, features.Has(probe.SkbEdit), 5}
	deadline := time.Now().Add(*soak)
	for first := true; first || time.Now().Before(deadline) && !t.Failed(); first = false {
		rapid.Check(t, func(t *rapid.T) { randomRun(t, w, variant) })
	}
}

// world is what random runs are drawn from.
type world struct {
	schedulers []string
	protocols  []lb.Protocol
	marks      bool
	servers    int
}

// randomRun is one random service with its random events.
func randomRun(t *rapid.T, w world, v oracle.Variant) {
	m := newMachine(t, w, v)
	defer m.close()
	t.Repeat(map[string]func(*rapid.T){
		"open":      m.open,
		"open more": m.openMore,
		"reopen":    m.reopen,
		"segment":   m.segment,
		"segment 2": m.segment,
		"add":       m.add,
		"edit":      m.edit,
		"remove":    m.remove,
		"time":      m.passTime,
		"service":   m.editService,
		"re-add":    m.readdService,
		"":          func(*rapid.T) { m.check(m.Compare()) },
	})
}

// machine is the random tester's state: the pair, and what is true of the run.
type machine struct {
	*pair
	world
	protocol lb.Protocol
	serial   int
	closed   time.Time // when the oldest connection that is now in CLOSE came there
}

func newMachine(t *rapid.T, w world, v oracle.Variant) *machine {
	family := rapid.SampledFrom([]lb.Family{lb.IPv4, lb.IPv6}).Draw(t, "family")
	m := &machine{world: w, protocol: rapid.SampledFrom(w.protocols).Draw(t, "protocol")}
	s := lb.Service{Key: lb.AddrKey(m.protocol, kernelVIP(family, 1), 80)}
	if w.marks && rapid.Bool().Draw(t, "firewall mark") {
		s.Key = lb.MarkKey(7, family)
	}
	v.Settings = oracle.Settings{
		ExpireQuiescentTemplate: rapid.Bool().Draw(t, "expire_quiescent_template"),
		ExpireNodestConn:        rapid.Bool().Draw(t, "expire_nodest_conn"),
		NoConnReuse:             rapid.Bool().Draw(t, "no conn_reuse_mode"),
	}
	m.drawService(t, &s, v.Settings)
	s.Destinations = m.drawDests(t, family)
	m.pair = newPair(&scripted{t, m}, s, v)
	return m
}

// drawService draws all but the key. Persistence does not go together with
// expire_nodest_conn: whether the kernel drops a template then depends on the
// order of its hash table (see oracle.Model.Remove).
func (w world) drawService(t *rapid.T, s *lb.Service, settings oracle.Settings) {
	s.Scheduler = rapid.SampledFrom(w.schedulers).Draw(t, "scheduler")
	s.Flags = lb.Flags(rapid.SampledFrom([]uint32{0, 0x8, 0x10, 0x18, 0x4}).Draw(t, "flags"))
	s.Timeout, s.MaskBits = 0, 0
	if rapid.IntRange(0, 2).Draw(t, "persistent") == 0 && !settings.ExpireNodestConn {
		s.Timeout = 300 * time.Second
		masks := []uint8{0, 8, 24}
		if s.Family == lb.IPv6 {
			masks = []uint8{0, 64, 124}
		}
		s.MaskBits = rapid.SampledFrom(masks).Draw(t, "mask")
	}
}

// scripted adds the run, as files to replay it with, to a failure's message.
type scripted struct {
	*rapid.T
	m *machine
}

func (s *scripted) Fatalf(format string, args ...any) {
	s.T.Helper()
	message := fmt.Sprintf(format, args...)
	if s.m.pair != nil {
		message += "\n\n" + replay.ToFiles(s.m.Script).String()
	}
	s.T.Fatalf("%s", message)
}

func (s *scripted) Fatal(args ...any) { s.T.Helper(); s.Fatalf("%s", fmt.Sprintln(args...)) }

// enough says that a run goes on no longer: a connection's 10 s in CLOSE may
// soon be over, which the model has to be told.
func (m *machine) enough() bool { return !m.closed.IsZero() && time.Since(m.closed) > 6*time.Second }

func (m *machine) open(t *rapid.T) {
	if m.enough() {
		return
	}
	m.serial++
	family := m.Service().Family
	c := kernelClient(family, rapid.IntRange(0, 40).Draw(t, "client address"))
	c.Client = netip.AddrPortFrom(c.Client.Addr(), uint16(1024+m.serial))
	c.Protocol = m.protocol
	c.Virtual = netip.AddrPortFrom(kernelVIP(family, 1), 80)
	if m.Service().FWMark != 0 {
		c.Virtual = netip.AddrPortFrom(kernelVIP(family, rapid.IntRange(1, 6).Draw(t, "virtual address")), 80)
	}
	m.pair.open(c)
}

// openMore lets loads grow: most rules tell themselves apart by them only.
func (m *machine) openMore(t *rapid.T) {
	for range rapid.IntRange(2, 6).Draw(t, "connections") {
		m.open(t)
	}
}

// reopen uses a client's port once more.
func (m *machine) reopen(t *rapid.T) {
	c := m.drawConn(t)
	if m.enough() || c.Lost && rapid.IntRange(0, 3).Draw(t, "lost") != 0 {
		t.Skip("it takes time to see that a packet is lost")
	}
	m.pair.open(c.Conn)
}

// segment goes on with a connection: the handshake, the end from either side,
// or a reset.
func (m *machine) segment(t *rapid.T) {
	c := m.drawConn(t)
	if m.protocol != lb.TCP || m.enough() {
		t.Skip("no states")
	}
	verb := rapid.SampledFrom([]predict.Verb{
		predict.ACK, predict.FIN, predict.RST, predict.ServerACK, predict.ServerFIN, predict.ServerRST,
	}).Draw(t, "segment")
	if by, _, _ := verb.Segment(); c.Lost && by == oracle.ByClient && rapid.IntRange(0, 9).Draw(t, "lost") != 0 {
		t.Skip("it takes time to see that a packet is lost")
	}
	m.do(predict.Event{Verb: verb, Conn: c.Conn})
	if now, _ := m.Model.Connection(c.Conn); now.State == oracle.Closed && m.closed.IsZero() {
		m.closed = time.Now()
	}
}

// drawConn is one of the connections, in the order of their clients' ports.
func (m *machine) drawConn(t *rapid.T) oracle.ConnState {
	all := m.connections()
	if len(all) == 0 {
		t.Skip("no connections")
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "connection")]
}

func (m *machine) connections() []oracle.ConnState {
	all := m.Model.Connections()
	slices.SortFunc(all, func(a, b oracle.ConnState) int { return int(a.Client.Port()) - int(b.Client.Port()) })
	return all
}

func (w world) drawDests(t *rapid.T, f lb.Family) (all []lb.Destination) {
	for range rapid.IntRange(0, 5).Draw(t, "destinations") {
		d := w.drawDest(t, f)
		if d.Lower <= d.Upper && !slices.ContainsFunc(all, func(o lb.Destination) bool { return o.DestKey == d.DestKey }) {
			all = append(all, d)
		}
	}
	return all
}

func (w world) drawDest(t *rapid.T, f lb.Family) lb.Destination {
	d := kernelServer(f, rapid.IntRange(1, w.servers).Draw(t, "server"), 0)
	d.Weight = rapid.SampledFrom([]int32{0, 1, 1, 2, 2, 3, 4, 6, 100, 999}).Draw(t, "weight")
	if rapid.IntRange(0, 2).Draw(t, "thresholds") == 0 {
		d.Upper = uint32(rapid.IntRange(1, 8).Draw(t, "upper"))
		d.Lower = uint32(rapid.IntRange(0, 8).Draw(t, "lower"))
	}
	return d
}

// dest may add what is there already, or edit or remove what is not: both must refuse.
func (m *machine) dest(t *rapid.T, verb predict.Verb) {
	if !m.enough() {
		m.do(predict.Event{Verb: verb, Dest: m.drawDest(t, m.Service().Family)})
	}
}

func (m *machine) add(t *rapid.T)    { m.dest(t, predict.Add) }
func (m *machine) edit(t *rapid.T)   { m.dest(t, predict.Edit) }
func (m *machine) remove(t *rapid.T) { m.dest(t, predict.Remove) }

// editService changes anything but the key: the scheduler may begin afresh, or
// its state must live on.
func (m *machine) editService(t *rapid.T) {
	if m.enough() || rapid.IntRange(0, 2).Draw(t, "rarely") != 0 {
		t.Skip("not now")
	}
	s := m.Service()
	scheduler := s.Scheduler
	m.drawService(t, &s, m.Script.Variant.Settings)
	if rapid.Bool().Draw(t, "same scheduler") {
		s.Scheduler = scheduler
	}
	m.do(predict.Event{Verb: predict.EditService, Service: s})
}

// readdService removes the service and adds it again, with some of its
// destinations, which come out of the kernel's trash.
func (m *machine) readdService(t *rapid.T) {
	if m.enough() || rapid.IntRange(0, 4).Draw(t, "rarely") != 0 {
		t.Skip("not now")
	}
	s := m.Service()
	m.do(predict.Event{Verb: predict.RemoveService})
	m.drawService(t, &s, m.Script.Variant.Settings)
	m.do(predict.Event{Verb: predict.EditService, Service: s})
	for range rapid.IntRange(0, 4).Draw(t, "destinations") {
		m.add(t)
	}
}

// passTime has a few connections expire, and leaves all others as they are.
func (m *machine) passTime(t *rapid.T) {
	if m.enough() || rapid.IntRange(0, 9).Draw(t, "rarely") != 0 {
		t.Skip("not now")
	}
	for _, c := range m.connections() {
		expires := c.Protocol == lb.UDP || c.State == oracle.SynRecv || c.State == oracle.Established || c.State == oracle.FinWait
		if expires && !c.Lost && rapid.Bool().Draw(t, "expires") {
			m.do(predict.Event{Verb: predict.Close, Conn: c.Conn})
		}
	}
}
