package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega/types"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/topology"
)

// fabricSpecs are about what is below the services.
func (st *stage) fabricSpecs() {
	st.it("links are up, with their addresses and routes", st.links)
	if slices.ContainsFunc(st.plan.Nodes, func(n topology.Node) bool { return len(n.Sysctls) > 0 }) {
		st.it("kernel settings are as planned", st.sysctls)
	}
	if slices.ContainsFunc(st.plan.Nodes, func(n topology.Node) bool { return len(n.Responders) > 0 }) {
		st.it("every responder answers with its name", st.responders)
	}
	if len(st.plan.Services) > 0 {
		st.it("the directors' tables are as planned", st.planned)
	}
}

func (st *stage) links(ginkgo.SpecContext) {
	st.hints()
	st.first.links = st.wrongLinks()
	must(st.first.links)
}

// wrongLinks compares every node's links, addresses and routes with the plan.
func (st *stage) wrongLinks() error {
	faults, err := st.lab.Faults()
	if err != nil {
		return err
	}
	var all []error
	for i := range st.plan.Nodes {
		n := &st.plan.Nodes[i]
		state, err := readNode(st.node(n.Name))
		if err != nil {
			return err
		}
		for link, have := range state.addrs { // who has them now is for the failover specs
			state.addrs[link] = slices.DeleteFunc(have, func(a netip.Prefix) bool { return st.plan.Floats(n.Name, link, a.Addr()) })
		}
		if len(faults) > 0 { // which lines have by queueing disciplines
			state.disciplines = nil
		}
		if st.ownWays(n.Name) {
			state.excuse(n)
		} else if len(n.Commands) > 0 {
			state.excuseWays(n)
		}
		if err := state.check(n); err != nil {
			all = append(all, fmt.Errorf("node %s is not as planned:\n%w", n.Name, err))
		}
	}
	return errors.Join(all...)
}

func (st *stage) sysctls(ctx ginkgo.SpecContext) {
	st.first.settings = st.wrongSettings(ctx)
	must(st.first.settings)
}

// wrongSettings compares every node's kernel settings with the plan, and the
// directors' timeouts of connections, which no file tells, with the kernel's own.
func (st *stage) wrongSettings(ctx context.Context) error {
	var wrong []error
	for i := range st.plan.Nodes {
		planned := &st.plan.Nodes[i]
		n := st.node(planned.Name)
		for _, s := range planned.Sysctls {
			if s.Optional && missing(n, s.Key) {
				continue
			}
			wrong = append(wrong, mismatch(n, assertions.HaveSysctl(s.Key, s.Value)))
		}
		if planned.Role == topology.Director && st.carries(n.Name()) && !st.ownWays(n.Name()) && len(planned.Commands) == 0 {
			wrong = append(wrong, st.wrongTimeouts(ctx, n.Name()))
		}
	}
	return errors.Join(wrong...)
}

// carries tells whether a director has services.
func (st *stage) carries(director string) bool {
	return slices.ContainsFunc(st.plan.Services, func(s topology.Service) bool { return slices.Contains(s.Directors, director) })
}

// kernelTimeouts are those of every namespace (ip_vs_proto_tcp.c, tcp_timeouts;
// ip_vs_proto_udp.c, udp_timeouts).
var kernelTimeouts = lb.Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute}

func (st *stage) wrongTimeouts(ctx context.Context, director string) error {
	have, err := st.table(ctx, director).Timeouts(ctx)
	if err != nil || have == kernelTimeouts {
		return err
	}
	return fmt.Errorf("the connection timeouts of director %s (tcp, after a FIN, udp) are %v, %v, %v; the kernel's own are %v, %v, %v, and nobody planned others (ipvsadm --set)",
		director, have.TCP, have.TCPFin, have.UDP, kernelTimeouts.TCP, kernelTimeouts.TCPFin, kernelTimeouts.UDP)
}

// mismatch is a matcher's verdict as an error, for specs that say all that is
// wrong at once.
func mismatch(actual any, m types.GomegaMatcher) error {
	ok, err := m.Match(actual)
	if err == nil && !ok {
		err = errors.New(m.FailureMessage(actual))
	}
	return err
}

func missing(n *lab.Node, key string) bool {
	err := n.Do(func() error { _, err := rtnl.ReadSysctl(key); return err })
	return errors.Is(err, rtnl.ErrNoSysctl)
}

func (st *stage) responders(ctx ginkgo.SpecContext) {
	for i := range st.plan.Nodes {
		n := &st.plan.Nodes[i]
		for _, r := range n.Responders {
			to := netip.AddrPortFrom(listensAt(n, r), r.Port)
			res := st.visitOnce(ctx, n.Name, traffic.Spec{Protocol: r.Protocol, To: to, Timeout: st.visitTimeout()})
			if got := res.Sequence(); len(got) != 1 || got[0] != r.Identity {
				ginkgo.Fail(fmt.Sprintf("%s's %s responder at %s, visited from its own node, must answer %q; got %q (%v %v)",
					n.Name, r.Protocol, to, r.Identity, got, res.Outcomes, res.Errors))
			}
		}
	}
}

// visitOnce makes one visit. A datagram that is lost, as one may be, is sent again.
func (st *stage) visitOnce(ctx ginkgo.SpecContext, node string, spec traffic.Spec) traffic.Result {
	for tries := 1; ; tries++ {
		res, err := traffic.Run(ctx, st.node(node).Do, spec)
		must(err)
		if res.Answered() > 0 || spec.Protocol != traffic.UDP || tries == 3 {
			return res
		}
	}
}

// listensAt is an address that the responder can be found at from its own node.
func listensAt(n *topology.Node, r topology.Responder) netip.Addr {
	for _, a := range append(slices.Clone(r.Addrs), addrsOf(n)...) {
		if a.IsValid() && !a.IsUnspecified() {
			return a
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func (st *stage) planned(ctx ginkgo.SpecContext) {
	for _, s := range st.services {
		if why := s.unvisited(); why != "" {
			note("%s: no connection is tried: %s", s.Name, why)
		}
		if why := s.impatient(); why != "" {
			note("%s: no real server is stopped: %s", s.Name, why)
		}
	}
	st.first.tables = st.unplanned(ctx)
	must(st.first.tables)
}

// unplanned compares whole tables, also those of directors that have nothing to do.
func (st *stage) unplanned(ctx context.Context) error {
	var wrong []error
	for _, n := range st.plan.Nodes {
		var want []lb.Service
		for _, s := range st.plan.Services {
			if slices.Contains(s.Directors, n.Name) {
				want = append(want, s.Spec)
			}
		}
		if n.Role != topology.Director && len(want) == 0 {
			continue
		}
		have, err := st.table(ctx, n.Name).List(ctx)
		if err != nil {
			return err
		}
		have = slices.DeleteFunc(have, func(s lb.Service) bool { return health.Carries(s.Key) })
		if err := mismatch(have, assertions.HoldServices(want...)); err != nil {
			wrong = append(wrong, fmt.Errorf("director %s: %w%s", n.Name, err, st.keepalivedSays(n.Name, want, have)))
		}
	}
	return errors.Join(wrong...)
}
