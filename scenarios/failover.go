package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/topology"
)

// failoverSpecs are about groups of directors that take over from each other,
// as far as a program that speaks VRRP runs them. A lab of somebody else's is
// only looked at.
func (st *stage) failoverSpecs() {
	for i := range st.plan.Failover {
		g := &takeover{Group: &st.plan.Failover[i], st: st}
		if !g.spoken() {
			continue
		}
		st.it(fmt.Sprintf("group %s: one director has the addresses", g.Name), func(ctx ginkgo.SpecContext) {
			g.awaitHolder(ctx, g.best())
			g.serves(ctx)
		})
		if st.Lab != nil {
			continue
		}
		st.it(fmt.Sprintf("group %s: a director that is stopped hands over, and takes back", g.Name), g.stop)
		st.it(fmt.Sprintf("group %s: a director that dies is taken over", g.Name), g.die)
	}
}

// takeover is a failover group under test.
type takeover struct {
	*topology.Group
	st *stage
}

func (g *takeover) spoken() bool {
	return !slices.ContainsFunc(g.Members, func(m topology.GroupMember) bool {
		d := g.st.plan.DirectorOf(m.Node)
		return d == nil || d.Kind != topology.Embedded && d.Kind != topology.Keepalived
	})
}

// best are the directors of which one must have the addresses while these are
// out of the game: the most preferred of the others if it takes them from
// whoever has them, else any.
func (g *takeover) best(out ...string) []string {
	var left []string
	for _, m := range g.Members {
		if !slices.Contains(out, m.Node) {
			left = append(left, m.Node)
		}
	}
	if g.Preempt {
		left = left[:1]
	}
	return left
}

// stop is a clean hand-over, and preemption or none.
func (g *takeover) stop(ctx ginkgo.SpecContext) {
	ginkgo.DeferCleanup(g.heal)
	first := g.awaitHolder(ctx, g.best())
	g.fault(ctx, topology.Fault{Do: topology.FaultStop, Node: first})
	second := g.awaitHolder(ctx, g.best(first))
	g.serves(ctx)
	g.fault(ctx, topology.Fault{Do: topology.FaultRestart, Node: first})
	want := []string{second}
	if g.Preempt {
		want = []string{first}
	}
	g.awaitHolder(ctx, want)
	g.serves(ctx)
}

// die kills the director and pulls its cables, as if the machine were gone: its
// kernel keeps the addresses, and nobody can see them.
func (g *takeover) die(ctx ginkgo.SpecContext) {
	ginkgo.DeferCleanup(g.heal)
	first := g.awaitHolder(ctx, g.best())
	g.fault(ctx, topology.Fault{Do: topology.FaultKill, Node: first})
	g.fault(ctx, topology.Fault{Do: topology.FaultLinkDown, Node: first})
	g.awaitHolder(ctx, g.best(first), first)
	g.serves(ctx)
}

// fault does one fault.
func (g *takeover) fault(ctx context.Context, f topology.Fault) {
	ginkgo.GinkgoHelper()
	ginkgo.By("fault: " + f.String())
	_, err := g.st.lab.Fault(ctx, f)
	must(err)
}

// heal makes everything right again.
func (g *takeover) heal(ctx ginkgo.SpecContext) {
	_, err := g.st.lab.Heal(ctx)
	must(err)
	g.awaitHolder(ctx, g.best())
}

// electionSlack is what an election may take beside the protocol's timers.
const electionSlack = 10 * time.Second

// awaitHolder waits until one of the directors given has all of the group's
// addresses and no other has any, and returns it. Those not counted are not asked.
func (g *takeover) awaitHolder(ctx context.Context, want []string, notCounted ...string) (holder string) {
	ginkgo.GinkgoHelper()
	within := 8*g.Interval + g.PreemptDelay + electionSlack
	gomega.Eventually(ctx, func() (wrong string, err error) {
		holder, wrong, err = g.holder(want, notCounted)
		return wrong, err
	}).WithTimeout(within).WithPolling(10*time.Millisecond).Should(gomega.BeEmpty(), func() string {
		return fmt.Sprintf("all addresses of group %s must be on %s, and on it alone, within %s", g.Name, strings.Join(want, " or "), within)
	})
	return holder
}

// holder is the director that has addresses, or says what is wrong with where they are.
func (g *takeover) holder(want, notCounted []string) (holder, wrong string, err error) {
	var faults []string
	for i, m := range g.Members {
		if slices.Contains(notCounted, m.Node) {
			continue
		}
		has, lacks, err := g.floating(i)
		switch {
		case err != nil:
			return "", "", err
		case len(has) == 0:
			continue
		case holder != "" || !slices.Contains(want, m.Node):
			faults = append(faults, fmt.Sprintf("director %s has %v", m.Node, has))
		case len(lacks) > 0:
			faults = append(faults, fmt.Sprintf("director %s has %v and lacks %v", m.Node, has, lacks))
		}
		holder = m.Node
	}
	if holder == "" {
		faults = append(faults, "no director has any")
	}
	return holder, strings.Join(faults, "; "), nil
}

// floating are which of the group's addresses a member has, and which not.
func (g *takeover) floating(i int) (has, lacks []netip.Addr, err error) {
	state, err := readNode(g.st.node(g.Members[i].Node))
	if err != nil {
		return nil, nil, err
	}
	for _, r := range g.Routers {
		for _, a := range r.Addresses {
			there := slices.Contains(state.addrs[r.Ends[i].Interface], netip.PrefixFrom(a.Addr, a.Addr.BitLen()))
			if g.st.ownWays(g.Members[i].Node) {
				there = state.has(a.Addr)
			}
			if there {
				has = append(has, a.Addr)
			} else {
				lacks = append(lacks, a.Addr)
			}
		}
	}
	return has, lacks, nil
}

// serves visits the group's services: each connection is answered.
func (g *takeover) serves(ctx context.Context) {
	ginkgo.GinkgoHelper()
	for _, s := range g.st.services {
		if !slices.Contains(g.Services, s.Name) || !s.visitable() {
			continue
		}
		spec := traffic.Spec{
			Protocol: s.protocol, To: s.to, Connections: s.visits(), Timeout: 5 * time.Second,
			ConnectOnly: s.anonymous && s.protocol == traffic.TCP,
		}
		ginkgo.By(fmt.Sprintf("opening %d %s connections from %s to %s", spec.Connections, s.protocol, s.from, s.to))
		result, err := traffic.Run(ctx, g.st.node(s.from).Do, spec)
		must(err)
		s.touched = true
		if n := result.Answered(); n != spec.Connections {
			ginkgo.Fail(fmt.Sprintf("service %s: %d of %d connections were answered: %v", s.Name, n, spec.Connections, result.Errors))
		}
	}
}
