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
		st.it(fmt.Sprintf("group %s: its preferred director has the addresses", g.Name), func(ctx ginkgo.SpecContext) {
			g.awaitHolder(ctx, g.member(0))
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

func (g *takeover) member(i int) string { return g.Members[i].Node }

func (g *takeover) spoken() bool {
	return !slices.ContainsFunc(g.Members, func(m topology.GroupMember) bool {
		d := g.st.plan.DirectorOf(m.Node)
		return d == nil || d.Kind != topology.Embedded && d.Kind != topology.Keepalived
	})
}

// stop is a clean hand-over, and preemption.
func (g *takeover) stop(ctx ginkgo.SpecContext) {
	first, second := g.member(0), g.member(1)
	ginkgo.DeferCleanup(g.heal)
	g.awaitHolder(ctx, first)
	g.fault(ctx, topology.Fault{Do: topology.FaultStop, Node: first})
	g.awaitHolder(ctx, second)
	g.serves(ctx)
	g.fault(ctx, topology.Fault{Do: topology.FaultRestart, Node: first})
	if g.Preempt {
		g.awaitHolder(ctx, first)
		g.serves(ctx)
		return
	}
	g.fault(ctx, topology.Fault{Do: topology.FaultStop, Node: second})
	g.awaitHolder(ctx, first)
	g.serves(ctx)
}

// die kills the director and pulls its cables, as if the machine were gone: its
// kernel keeps the addresses, and nobody can see them.
func (g *takeover) die(ctx ginkgo.SpecContext) {
	first, second := g.member(0), g.member(1)
	ginkgo.DeferCleanup(g.heal)
	g.awaitHolder(ctx, first)
	g.fault(ctx, topology.Fault{Do: topology.FaultKill, Node: first})
	g.fault(ctx, topology.Fault{Do: topology.FaultLinkDown, Node: first})
	g.awaitHolder(ctx, second, first)
	g.serves(ctx)
}

// fault does one fault.
func (g *takeover) fault(ctx context.Context, f topology.Fault) {
	ginkgo.GinkgoHelper()
	ginkgo.By("fault: " + f.String())
	_, err := g.st.lab.Fault(ctx, f)
	must(err)
}

// heal makes everything right again; the group is then where it was.
func (g *takeover) heal(ctx ginkgo.SpecContext) {
	_, err := g.st.lab.Heal(ctx)
	must(err)
	if g.Preempt {
		g.awaitHolder(ctx, g.member(0))
	}
}

// electionSlack is what an election may take beside the protocol's timers.
const electionSlack = 10 * time.Second

// awaitHolder waits until one director has all of the group's addresses and no
// other any; of those not counted that is not asked.
func (g *takeover) awaitHolder(ctx context.Context, want string, notCounted ...string) {
	ginkgo.GinkgoHelper()
	within := 8*g.Interval + g.PreemptDelay + electionSlack
	gomega.Eventually(ctx, func() (string, error) { return g.misplaced(want, notCounted) }).
		WithTimeout(within).WithPolling(10*time.Millisecond).
		Should(gomega.BeEmpty(), func() string {
			return fmt.Sprintf("all addresses of group %s must be on director %s within %s", g.Name, want, within)
		})
}

// misplaced says where the addresses are if they are not where they should be.
func (g *takeover) misplaced(want string, notCounted []string) (string, error) {
	var wrong []string
	for i, m := range g.Members {
		if slices.Contains(notCounted, m.Node) {
			continue
		}
		state, err := readNode(g.st.node(m.Node))
		if err != nil {
			return "", err
		}
		for _, r := range g.Routers {
			for _, a := range r.Addresses {
				is := slices.Contains(state.addrs[r.Ends[i].Interface], netip.PrefixFrom(a.Addr, a.Addr.BitLen()))
				switch {
				case is && m.Node != want:
					wrong = append(wrong, fmt.Sprintf("director %s has %s on %s", m.Node, a.Addr, r.Ends[i].Interface))
				case !is && m.Node == want:
					wrong = append(wrong, fmt.Sprintf("director %s does not have %s on %s", m.Node, a.Addr, r.Ends[i].Interface))
				}
			}
		}
	}
	return strings.Join(wrong, "; "), nil
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
