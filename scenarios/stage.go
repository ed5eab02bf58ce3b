package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/topology"
)

// stage is a lab while it is being tested.
type stage struct {
	Target
	opts     Options
	ctx      context.Context // of the whole run
	plan     *topology.Plan
	services []*service
	settled  bool     // the statistics hold what came before the test
	waited   *bool    // of the run: some lab has the spec that takes 10 s
	lab      *lab.Lab // nil until it is up
	failed   bool     // some spec has: see patientVisit
	pulse    *pulse
	watched  func() // tells how busy the machine was since the spec began; nil before the first
	captures capture.Set
	tables   map[string]*ipvs.Table // by director, opened when needed
	born     time.Time              // when the lab was made
	left     bool                   // it was reported gone
	first    state                  // what was wrong when it was looked at first
	hinted   []string
}

// downTimeout bounds taking a lab down, which happens whatever the specs did.
const downTimeout = 30 * time.Second

// container makes the lab's specs.
func (st *stage) container() {
	ginkgo.BeforeAll(func(ctx ginkgo.SpecContext) { st.up(ctx) })
	ginkgo.BeforeEach(func(ctx ginkgo.SpecContext) {
		st.leaveIfGone()
		ginkgo.AttachProgressReporter(func() string { return st.listings(st.ctx) })
		st.captures = nil
		st.watched = st.pulse.watch()
	})
	ginkgo.JustAfterEach(func() {
		if ginkgo.CurrentSpecReport().Failed() && st.ctx.Err() == nil {
			if why := st.gone(); why != "" {
				note("%s", why)
			}
			st.failed = true
			if st.watched != nil { // else the lab did not come up
				st.watched()
			}
			st.hintAtTables(st.ctx)
			st.gatherEvidence()
		}
	})
	st.fabricSpecs()
	var visitable []*service
	for _, p := range st.plan.Services {
		s := newService(st, p)
		st.services = append(st.services, s)
		if s.visitable() {
			visitable = append(visitable, s)
		}
	}
	st.balanceSpecs(visitable)
	st.forwardSpecs(visitable)
	st.patientSpec(visitable)
	st.checkSpecs()
	for i := range st.plan.Scenarios {
		st.ownSpec(&st.plan.Scenarios[i])
	}
	st.it("nothing of it has changed meanwhile", func(ctx ginkgo.SpecContext) { st.unchanged(ctx) })
	st.failoverSpecs()
	if st.Lab == nil && !st.opts.Keep {
		st.it("goes and leaves nothing behind", st.leavesNothing)
	}
}

// it is ginkgo's It with the time that a spec has.
func (st *stage) it(text string, body func(ctx ginkgo.SpecContext)) {
	ginkgo.It(text, body, ginkgo.SpecTimeout(specTimeout))
}

// up brings the lab up, unless it is.
func (st *stage) up(ctx context.Context) {
	st.tables = map[string]*ipvs.Table{}
	ginkgo.DeferCleanup(func() { must(st.closeTables()) })
	if st.lab = st.Lab; st.lab != nil {
		st.settle(ctx)
		return
	}
	// The lab outlives the spec that is first.
	up, cancel := context.WithCancel(st.ctx)
	defer context.AfterFunc(ctx, cancel)()
	l, err := lab.Up(up, st.plan, lab.Options{Agent: st.opts.Agent, Warn: st.opts.Warn})
	must(err)
	st.lab = l
	if !st.opts.Keep {
		ginkgo.DeferCleanup(func() { must(st.down()) })
	}
	st.settle(ctx)
}

func (st *stage) down() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), downTimeout)
	defer cancel()
	return st.lab.Down(ctx)
}

func (st *stage) closeTables() error {
	var errs []error
	for _, t := range st.tables {
		errs = append(errs, t.Close())
	}
	clear(st.tables)
	return errors.Join(errs...)
}

// node finds a node of the lab.
func (st *stage) node(name string) *lab.Node {
	n, err := st.lab.Node(name)
	must(err)
	return n
}

// table is a director's; it stays open until the lab's specs are done.
func (st *stage) table(ctx context.Context, director string) *ipvs.Table {
	if t := st.tables[director]; t != nil {
		return t
	}
	t, err := st.node(director).Table(ctx)
	must(err)
	st.tables[director] = t
	return t
}

// capture begins to capture on every planned interface, until the spec ends.
func (st *stage) capture(ctx context.Context) capture.Set {
	var points []capture.Point
	for _, n := range st.lab.Nodes() {
		for _, i := range n.Plan().Interfaces {
			if i.Kind == topology.VethIface && !i.Down {
				points = append(points, capture.Point{Enter: n.Do, Options: capture.Options{Node: n.Name(), Interface: i.Name}})
			}
		}
	}
	set, err := capture.StartAll(ctx, points...)
	must(err)
	ginkgo.DeferCleanup(func() { must(set.Stop()) })
	st.captures = set
	return set
}

// leavesNothing takes the lab down and looks for remains.
func (st *stage) leavesNothing(ginkgo.SpecContext) {
	must(st.closeTables())
	must(st.down())
	if _, err := lab.ReadStatus(st.plan.Name); !errors.Is(err, lab.ErrNotExist) {
		ginkgo.Fail(fmt.Sprintf("lab %s is down, yet it is still recorded (%v)", st.plan.Name, err))
	}
	names, err := netns.List()
	must(err)
	for _, n := range names {
		if strings.HasPrefix(n, st.plan.Name+".") {
			ginkgo.Fail("network namespace " + n + " was left behind")
		}
	}
}

// must fails the spec on an error, with the error's own words.
func must(err error) {
	ginkgo.GinkgoHelper()
	if err != nil {
		ginkgo.Fail(err.Error())
	}
}

// note tells the reader of a verdict what it does not rest on.
func note(format string, args ...any) {
	ginkgo.AddReportEntry(noteEntry, fmt.Sprintf(format, args...), ginkgo.ReportEntryVisibilityFailureOrVerbose)
}

// plannedNode finds a node in the plan; nil if there is none.
func (st *stage) plannedNode(name string) *topology.Node {
	for i := range st.plan.Nodes {
		if st.plan.Nodes[i].Name == name {
			return &st.plan.Nodes[i]
		}
	}
	return nil
}

// addrsOf lists a node's addresses, those of the interfaces first.
func addrsOf(n *topology.Node) []netip.Addr {
	var out []netip.Addr
	for _, i := range n.Interfaces {
		for _, a := range i.Addresses {
			out = append(out, a.Prefix.Addr())
		}
	}
	for _, a := range n.Loopback {
		out = append(out, a.Prefix.Addr())
	}
	return out
}
