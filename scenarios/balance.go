package scenarios

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// balanceSpecs makes the specs that count connections, for all services, and
// between them one that reads the kernel's statistics, which lag behind by 2 s.
func (st *stage) balanceSpecs(services []*service) {
	for _, s := range services {
		st.it(s.Name+": one by one, each connection goes where "+s.Spec.Scheduler+" sends it", func(ctx ginkgo.SpecContext) { s.balance(ctx, false) })
	}
	if len(services) > 0 {
		st.it("the directors' statistics count the same connections", st.statistics)
	}
	for _, s := range services {
		if s.connects() {
			st.it(s.Name+": held open, each connection goes where "+s.Spec.Scheduler+" sends it", func(ctx ginkgo.SpecContext) { s.balance(ctx, true) })
		}
	}
}

// forwardSpecs makes the specs about packets and connection entries. That an
// entry goes when its time is over takes a second, and is the same for all
// services that are forwarded alike.
func (st *stage) forwardSpecs(services []*service) {
	seen := map[string]bool{}
	for _, s := range services {
		kind := fmt.Sprint(s.transport(), s.Spec.Family, s.Spec.Destinations[0].Forward)
		goes := !seen[kind]
		seen[kind] = true
		st.it(s.Name+": packets are forwarded as they must be, at every hop", func(ctx ginkgo.SpecContext) { s.wire(ctx) })
		if s.protocol == traffic.HTTP {
			st.it(s.Name+": large requests and answers get through", func(ctx ginkgo.SpecContext) { s.large(ctx) })
		}
		switch {
		case s.transport() == lb.TCP:
			st.it(s.Name+": connection entries pass through their states", func(ctx ginkgo.SpecContext) { s.lifeTCP(ctx) })
		case s.transport() == lb.SCTP:
			goes = false // after a minute at the least, which no setting makes shorter
			st.it(s.Name+": association entries pass through their states", func(ctx ginkgo.SpecContext) { s.lifeSCTP(ctx) })
		case s.Spec.Flags&lb.OnePacket == 0:
			st.it(s.Name+": datagrams make connection entries", func(ctx ginkgo.SpecContext) { s.lifeUDP(ctx) })
		default:
			goes = false
		}
		if goes {
			st.it(s.Name+": connection entries go when their time is over", func(ctx ginkgo.SpecContext) { s.goes(ctx) })
		}
		if len(s.Marks) > 0 && !s.anonymous {
			st.it(s.Name+": every port that is marked is balanced", func(ctx ginkgo.SpecContext) { s.everyPort(ctx) })
		}
	}
}

// visitable: there is a client, a real server that may get connections, and
// nothing in the file says that it must not be answered.
func (s *service) visitable() bool {
	return s.from != "" && s.expectedOf() == "" && s.usable() > 0
}

// patientSpec makes the spec that takes 10 s, for one service of the run.
func (st *stage) patientSpec(services []*service) {
	if *st.waited {
		return
	}
	for _, s := range services {
		if s.transport() == lb.TCP {
			*st.waited = true
			st.it(s.Name+": the entry of a reset connection goes after 10 s", func(ctx ginkgo.SpecContext) { s.resetGoes(ctx) })
			return
		}
	}
}

// balance visits the service and compares each pick with the model's, and the
// witnesses with each other.
func (s *service) balance(ctx context.Context, held bool) {
	if !held {
		s.settleStatistics(ctx)
	}
	r := s.begin(ctx, held)
	set := s.st.capture(ctx)
	r.open(ctx, s.visits())
	r.noteResent(set)
	want := r.checkPicks(ctx)
	ginkgo.By("asking the witnesses")
	w := r.witnesses(ctx)
	if want == nil {
		want = w.Kernel
	}
	gomega.Expect(w).To(assertions.AgreeOn(want))
	if s.Spec.Persistent() && sum(want) > 0 { // a client that was refused is not remembered
		r.checkTemplate(ctx)
	}
	if r.model != nil {
		r.checkCounters(ctx)
	}
	s.counted = want
	s.liveBefore, s.liveAfter = r.liveBefore, s.live(ctx)
}

// noteResent tells of connections that were answered at the second try: TCP makes
// up for what gets lost, so that no connection fails by it.
func (r *round) noteResent(set capture.Set) {
	syns := map[netip.AddrPort]int{}
	for _, p := range set.Find(func(p capture.Packet) bool {
		return p.Node == r.from && p.Direction == capture.Out && p.IsSYN() && p.Destination() == r.to
	}) {
		syns[p.Source()]++
	}
	again := 0
	for _, c := range r.conns {
		if c.Outcome == traffic.Answered && syns[c.Source] > 1 {
			again++
		}
	}
	if again > 0 {
		note("%d of %d connections were answered after the client had sent its SYN again: packets get lost, or the machine is busy", again, len(r.conns))
	}
}

// live is how many connections the director has made up to now.
func (s *service) live(ctx context.Context) uint64 {
	c, err := s.st.table(ctx, s.director).LiveTotals(ctx)
	must(err)
	return c.Conns
}

// statistics compares the kernel's statistics of each service with what the
// witnesses have agreed on.
func (st *stage) statistics(ctx ginkgo.SpecContext) {
	for _, s := range st.services {
		if s.counted == nil {
			continue
		}
		r := &round{service: s}
		stats := assertions.Witnesses{
			Kernel: r.statistics(ctx, sum(s.counted)),
			Notes:  append([]string{fmt.Sprintf("asked were the statistics of %s (ipvsadm --stats) about %s", s.director, s.Name)}, s.hindsight(ctx)...),
		}
		gomega.Expect(stats).To(assertions.AgreeOn(s.counted))
	}
}

// hindsight says what bears on statistics that don't agree: whether connections
// came after those that were counted, or were counted late.
func (s *service) hindsight(ctx context.Context) []string {
	live, err := s.st.table(ctx, s.director).LiveTotals(ctx)
	must(err)
	late, err := s.lag(ctx)
	must(err)
	found, err := s.entries(ctx)
	must(err)
	return []string{
		fmt.Sprintf("when %s was set up afresh, %s had made %d connections in all; when its %d visits had been counted, %d; now %d",
			s.Name, s.director, s.liveBefore, sum(s.counted), s.liveAfter, live.Conns),
		fmt.Sprintf("the statistics lag behind the live totals by %d; entries and templates of %s: %d", late, s.Name, len(found)),
	}
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// checkPicks compares each connection's real server with the model's pick, and
// gives the counts that follow. Nil: the scheduler leaves it to chance.
func (r *round) checkPicks(ctx context.Context) map[string]int {
	ginkgo.GinkgoHelper()
	if r.model == nil {
		note("%s: nobody can predict what %s picks; only the witnesses are compared", r.Name, r.Spec.Scheduler)
		return nil
	}
	before := fmt.Sprintf("service %s, scheduler %s, as planned (newest first): %s", r.Name, r.Spec.Scheduler, r.modelState())
	picks := r.predicted()
	if got, want := r.observed(), r.labels(picks); !slices.Equal(got, want) || len(want) == 0 {
		gomega.Expect(got).To(assertions.FollowPrediction(want, r.past(), r.taken(ctx), before, "afterwards the model has: "+r.modelState()))
	}
	want := map[string]int{}
	for _, i := range picks {
		if i >= 0 {
			want[r.names[i]]++
		}
	}
	return want
}

// taken says if another service has the connections.
func (r *round) taken(ctx context.Context) string {
	dests, err := r.st.table(ctx, r.director).Destinations(ctx, r.Spec.Key)
	must(err)
	counted := 0
	for _, d := range dests {
		counted += int(d.Counters.Active + d.Counters.Inactive)
	}
	if counted >= len(r.entries) || r.Spec.Flags&lb.OnePacket != 0 {
		return ""
	}
	return fmt.Sprintf("the real servers of %s count %d of its %d connections: the others are another service's%s; a firewall mark goes before address and port",
		r.Name, counted, len(r.entries), r.st.owners(ctx, slices.Collect(maps.Values(r.entries))))
}

// past says how many connections went past the director.
func (r *round) past() string {
	past := 0
	for _, c := range r.conns {
		if _, ok := r.entries[c.Source]; !ok && c.Outcome == traffic.Answered {
			past++
		}
	}
	if past == 0 || r.Spec.Flags&lb.OnePacket != 0 {
		return ""
	}
	return fmt.Sprintf("%s has no entry of %d connections that were answered: they went past it; who answers ARP for %s, and what does its packet filter do with them?", r.director, past, r.to.Addr())
}

// modelState is the model's destinations on a line.
func (r *round) modelState() string {
	text := ""
	for i, d := range r.model.Destinations() {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s weight %d active %d inactive %d", d.Dest, d.Weight, d.Active, d.Inactive)
		if d.Overloaded {
			text += " overloaded"
		}
	}
	return text
}

// checkCounters compares the kernel's live counters with the model's.
func (r *round) checkCounters(ctx context.Context) {
	ginkgo.GinkgoHelper()
	ginkgo.By("comparing the director's live counters with the model's")
	var want []string
	for _, d := range r.model.Destinations() {
		want = append(want, fmt.Sprintf("%s: %d active, %d inactive", d.Dest, d.Active, d.Inactive))
	}
	have, err := r.st.table(ctx, r.director).Destinations(ctx, r.Spec.Key)
	must(err)
	var got []string
	for _, d := range have {
		got = append(got, fmt.Sprintf("%s: %d active, %d inactive", d.DestKey, d.Counters.Active, d.Counters.Inactive))
	}
	gomega.Expect(got).To(gomega.ConsistOf(want), "the director's counters of %s", r.Name)
}

// checkTemplate looks for the entry that binds the client to its real server.
func (r *round) checkTemplate(ctx context.Context) {
	ginkgo.GinkgoHelper()
	all, err := r.service.entries(ctx)
	must(err)
	if !slices.ContainsFunc(all, lb.Conn.Template) {
		ginkgo.Fail(fmt.Sprintf("%s is persistent, but %s has no template for its client among: %v", r.Name, r.director, all))
	}
}

// mostPorts bounds how many ports of a range are visited.
const mostPorts = 8

// everyPort visits each port of the service's marks once.
func (s *service) everyPort(ctx context.Context) {
	model := s.modelIfAny(s.reset(ctx))
	for _, m := range s.Marks {
		if m.Protocol != s.transport() {
			continue
		}
		for port := int(m.First); port <= int(m.Last) && port < int(m.First)+mostPorts; port++ {
			s.visitPort(ctx, addrPort(m.Addr, port), model)
		}
	}
}

// visitPort visits one of the marked ports. The model knows of the visits before:
// they may have filled a real server up to its threshold.
func (s *service) visitPort(ctx context.Context, to netip.AddrPort, model *oracle.Model) {
	ginkgo.GinkgoHelper()
	ginkgo.By(fmt.Sprintf("visiting %s", to))
	visited := *s
	visited.to = to
	spec := traffic.Spec{Protocol: s.protocol, To: to, Timeout: s.st.visitTimeout()}
	res, err := traffic.Run(ctx, s.st.node(s.from).Do, spec)
	must(err)
	r := &round{service: &visited, model: model, conns: res.Connections}
	got := r.conns[0]
	if planned := model == nil || r.predicted()[0] >= 0; !planned && got.Outcome == traffic.Refused {
		note("%s: %s has no real server for the connection to port %d, as it must be", s.Name, s.Spec.Scheduler, to.Port())
		return
	}
	if !slices.Contains(s.names, got.Identity) {
		ginkgo.Fail(fmt.Sprintf("port %d carries the mark %d; who answers? one of %v must, and %q did (%s)",
			to.Port(), s.Spec.FWMark, s.names, got.Identity, fateOf(got)))
	}
	if r.connects() {
		must(r.awaitInactive(ctx))
	}
}
