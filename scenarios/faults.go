package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/handover"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/topology"
)

// playTimed plays a scenario's faults while a client keeps streams open and
// opens connections, and holds what was seen against the file's limits. The
// service is left as it is: streams live in its connection entries.
func (st *stage) playTimed(ctx context.Context, own *topology.Scenario, to netip.AddrPort) {
	before, err := st.lab.Faults()
	must(err)
	st.mendLater(before, to, own)
	w := st.watchGroups(ctx)
	spec := handover.Spec{
		To: to, Protocol: own.Traffic.Protocol, Streams: own.Traffic.Streams, Every: own.Traffic.Every,
		Rate: float64(own.Traffic.Rate), Duration: own.Traffic.Duration, Timeout: own.Traffic.Timeout, Sources: own.Traffic.Sources,
	}
	if spec.Rate == 0 {
		spec.Rate = -1
	}
	for _, f := range own.Faults {
		spec.Events = append(spec.Events, handover.Event{At: f.At, Name: f.String(), Do: func(ctx context.Context) error {
			w.expect(f)
			defer w.refresh()
			_, err := st.lab.Fault(ctx, f)
			return err
		}})
	}
	ginkgo.By(fmt.Sprintf("driving %d streams and %d connections a second from %s to %s for %v, with %d faults",
		own.Traffic.Streams, own.Traffic.Rate, own.From, to, own.Traffic.Duration, len(own.Faults)))
	res, err := handover.Run(ctx, st.node(own.From).Do, spec)
	took := assertions.Takeover{Result: res, Tenures: w.stop()}
	for _, t := range took.Tenures {
		if t.Split() {
			note("split brain: %s", t)
		}
	}
	must(err)
	note("gap %s; new connections: %d of %d answered; streams: %d of %d went on",
		res.Gap, res.New.Answered, res.New.Opened, res.Streams.Continued, res.Streams.Opened)
	if own.Expect.Handover != nil {
		gomega.Expect(took).To(assertions.StayWithin(*own.Expect.Handover))
	}
}

// ownTimeout bounds a scenario of the file's: timed traffic takes its time, and
// so do checks.
func (st *stage) ownTimeout(own *topology.Scenario) time.Duration {
	t := specTimeout
	for _, s := range st.services {
		if s.Name == own.Service && s.watched() && len(own.Faults) > 0 {
			t += s.verdictsTime()
		}
	}
	if own.Traffic.Duration > 0 {
		t += own.Traffic.Duration + own.Traffic.Timeout
	}
	return t
}

const (
	// mendTimeout is for directors to start and to elect one of them.
	mendTimeout = 30 * time.Second
	// answerTimeout is for real servers to be found again, and for neighbours to
	// find out that an address has moved if nobody tells them: up to 45 s until
	// an entry is stale, 5 s until it is asked after, 3 s in vain (arp(7)).
	answerTimeout = 90 * time.Second
)

// mendLater undoes a scenario's faults when its spec has ended, however it has.
func (st *stage) mendLater(before []topology.Fault, to netip.AddrPort, own *topology.Scenario) {
	if len(own.Faults) > 0 {
		ginkgo.DeferCleanup(func(ctx ginkgo.SpecContext) { st.mend(ctx, before, to, own) }, ginkgo.NodeTimeout(2*mendTimeout+answerTimeout+st.settleTime()))
	}
}

// mend undoes what a scenario has done, and waits until its target answers and
// the directors are as at the beginning: else the next spec would fail for it.
func (st *stage) mend(ctx context.Context, before []topology.Fault, to netip.AddrPort, own *topology.Scenario) {
	ginkgo.GinkgoHelper()
	ginkgo.By("healing the lab")
	if _, err := st.lab.HealSince(ctx, before); err != nil {
		ginkgo.Fail("the lab is not healed: " + err.Error())
	}
	if len(before) > 0 {
		return // something is wrong with the lab for other reasons
	}
	if err := until(ctx, mendTimeout, st.elected); err != nil {
		ginkgo.Fail("the lab is healed, but its directors are not as they were: " + err.Error())
	}
	err := until(ctx, answerTimeout, func() (bool, error) {
		res, err := traffic.Run(ctx, st.node(own.From).Do, traffic.Spec{
			Protocol: own.Traffic.Protocol, To: to, Connections: 2, Timeout: time.Second,
		})
		return res.Answered() == 2, err
	})
	if err != nil {
		ginkgo.Fail(fmt.Sprintf("the lab is healed, but %s does not answer: %v", to, err))
	}
	st.settle(ctx) // the real servers that are left have answered
}

// elected tells whether each group's addresses are where they belong: at its
// first director, or, where nobody is to preempt, at any one.
func (st *stage) elected() (bool, error) {
	for i := range st.plan.Failover {
		g := &st.plan.Failover[i]
		var have []string
		for _, m := range g.Members {
			has, err := st.holds(g, m.Node)
			if err != nil {
				return false, err
			}
			if has {
				have = append(have, m.Node)
			}
		}
		if len(have) != 1 || g.Preempt && have[0] != g.Members[0].Node {
			return false, nil
		}
	}
	return true, nil
}

// withFaults has faults happen before counted traffic, and mends them when it is done.
func (st *stage) withFaults(ctx context.Context, own *topology.Scenario, to netip.AddrPort) {
	ginkgo.GinkgoHelper()
	if len(own.Faults) == 0 {
		return
	}
	before, err := st.lab.Faults()
	must(err)
	st.mendLater(before, to, own)
	var names []string
	var errs []error
	for _, f := range own.Faults {
		_, err := st.lab.Fault(ctx, f)
		errs, names = append(errs, err), append(names, f.String())
	}
	ginkgo.By("with " + strings.Join(names, ", "))
	must(errors.Join(errs...))
}
