package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/topology"
)

const (
	// firstChecks bounds the wait for real servers that are down until they have
	// been checked (alpha).
	firstChecks = 10 * time.Second
	// patientCheck is the longest interval of checks that a spec waits for.
	patientCheck = 3 * time.Second
	// patientConf is the same of a keepalived.conf of the user's, whose delay_loop
	// is mostly some seconds.
	patientConf = 6 * time.Second
	// fewServers are stopped one after the other, at most.
	fewServers = 4
)

// checkSpecs stop the real servers of checked services.
func (st *stage) checkSpecs() {
	for _, s := range st.services {
		s.readConf()
		if s.stoppable() {
			st.it(s.Name+": real servers that stop answering leave, and come back, by check and quorum", s.followsChecks)
		}
	}
}

// readConf reads the times of checks that the user's keepalived.conf has. One
// that can't be read has keepalived's defaults, which are long.
func (s *service) readConf() {
	d := s.st.plan.DirectorOf(s.director)
	if !s.watched() || d == nil || d.Kind != topology.Keepalived || d.Config == "" {
		return
	}
	if s.conf, s.confErr = readConfTimes(d.Config); s.confErr != nil {
		s.conf = confDefaults
	}
}

// impatient is why nobody waits for the checks of the user's keepalived.conf;
// empty: they come soon.
func (s *service) impatient() string {
	switch {
	case s.confErr != nil:
		return s.confErr.Error()
	case s.conf.interval > patientConf || s.conf.delay > patientConf:
		return fmt.Sprintf("the keepalived.conf checks every %v (delay_loop, for each url of a real server), and again after %v (delay_before_retry):"+
			" real servers are stopped where both are %v at most", s.conf.interval, s.conf.delay, patientConf)
	}
	return ""
}

// stoppable tells whether the suite can have the service's real servers fail
// their checks, and has not to wait for minutes.
func (s *service) stoppable() bool {
	d := s.st.plan.DirectorOf(s.director)
	if !s.watched() || d == nil || d.Kind != topology.Embedded && d.Kind != topology.Keepalived || s.impatient() != "" {
		return false
	}
	for i, dest := range s.Spec.Destinations {
		if dest.Weight == 0 || s.responder(i) == nil {
			return false
		}
		checks := s.checksOf(i)
		if len(checks) == 0 || !slices.ContainsFunc(checks, s.asksService) {
			return false
		}
		for _, c := range checks {
			if c.Interval > patientCheck || c.DelayBeforeRetry > patientCheck {
				return false
			}
		}
	}
	return len(s.Spec.Destinations) > 0
}

// asksService tells whether a check fails when the service's port is closed.
func (s *service) asksService(c *health.Check) bool {
	return c.Port == 0 && (c.Kind == health.TCP || c.Kind == health.HTTP || c.Kind == health.UDP)
}

func (s *service) watched() bool {
	h := s.Health()
	return h.Watched()
}

func (s *service) checksOf(i int) []*health.Check {
	h := s.Health()
	return h.Checks(i)
}

// followsChecks has real servers fail one after the other, the last first, and
// then come back, and compares the table with what follows from that.
func (s *service) followsChecks(ctx ginkgo.SpecContext) {
	m := s.expected()
	down := map[int]bool{}
	ginkgo.DeferCleanup(func(ctx ginkgo.SpecContext) {
		for i := range down {
			s.revive(ctx, i)
		}
	})
	last := len(s.Spec.Destinations) - 1
	most := min(len(s.Spec.Destinations), fewServers)
	s.awaitTable(ctx, m, down)
	for i := last; i > last-most; i-- {
		r := s.responder(i)
		ginkgo.By("stopping " + s.label(i))
		down[i] = true
		must(s.st.lab.StopResponder(ctx, s.RealServers[i], r.Protocol, r.Port))
		s.awaitTable(ctx, m, down)
	}
	for i := last; i > last-most; i-- {
		ginkgo.By("starting " + s.label(i))
		s.revive(ctx, i)
		delete(down, i)
		s.awaitTable(ctx, m, down)
	}
}

func (s *service) revive(ctx context.Context, i int) {
	r := s.responder(i)
	must(s.st.lab.StartResponder(ctx, s.RealServers[i], r.Protocol, r.Port))
}

// expected is the service by the model of checks, all its real servers up.
func (s *service) expected() *model {
	h := s.Health()
	return &model{Monitor: health.NewMonitor([]health.Service{h}, time.Time{}, health.Options{}), checks: h}
}

// model is what becomes of a service's table by its checks.
type model struct {
	*health.Monitor
	checks health.Service
	now    time.Time
	last   lb.Service // what the table was expected to be last
}

// changes tells whether a table is another than what was expected before.
func (m *model) changes(want lb.Service) bool {
	return len(lb.Diff([]lb.Service{m.last}, []lb.Service{want}, lb.DiffOptions{})) > 0
}

// table is what the table has to hold while these servers are down.
func (m *model) table(down map[lb.DestKey]bool) lb.Service {
	rounds := 1
	for i := range m.checks.Spec.Destinations {
		for _, c := range m.checks.Checks(i) {
			rounds = max(rounds, c.Rise, c.Fall)
		}
	}
	for range rounds + 1 {
		m.now = m.now.Add(time.Hour)
		for _, p := range m.Due(m.now) {
			var failure error
			if down[p.Server.DestKey] {
				failure = errors.New("stopped")
			}
			m.Result(m.now, p, failure)
		}
	}
	return m.Services()[0]
}

// awaitTable waits until the director's table is what checks and quorum lead to.
func (s *service) awaitTable(ctx context.Context, m *model, down map[int]bool) {
	ginkgo.GinkgoHelper()
	keys, names, sum := map[lb.DestKey]bool{}, []string{}, 0
	for i, d := range s.Spec.Destinations {
		if down[i] {
			keys[d.DestKey] = true
			names = append(names, s.label(i))
		} else {
			sum += int(d.Weight)
		}
	}
	want := m.table(keys)
	if !m.changes(want) { // it takes a while until it could be wrong
		s.st.pause(ctx, s.noticeTime())
	}
	m.last = want
	var wrong []string
	err := until(ctx, s.verdictTime(), func() (bool, error) {
		have, err := s.st.table(ctx, s.director).Get(ctx, s.Spec.Key)
		wrong = lb.Differences([]lb.Service{have}, []lb.Service{want}, lb.DiffOptions{})
		return len(wrong) == 0, err
	})
	if errors.Is(err, errSlow) {
		what := "all real servers answering"
		if len(names) > 0 {
			what = strings.Join(names, ", ") + " not answering"
		}
		ginkgo.Fail(fmt.Sprintf("with %s, the table of director %s is not what the checks lead to within %v"+
			" (the weights of those that answer make %d; the quorum is %d, the hysteresis %d):\n    %s",
			what, s.director, s.verdictTime(), sum, s.Quorum, s.Hysteresis, strings.Join(wrong, "\n    ")))
	}
	must(err)
}

// noticeTime is how long a director takes at least to act on a server that has
// stopped or started. One that takes longer is not found out, where nothing is
// to change.
func (s *service) noticeTime() time.Duration {
	var most time.Duration
	for i := range s.Spec.Destinations {
		for _, c := range s.checksOf(i) {
			most = max(most, c.Interval+time.Duration(max(c.Rise, c.Fall)-1)*c.DelayBeforeRetry)
		}
	}
	return max(most+500*time.Millisecond, s.conf.notice())
}

// pause lets time go by.
func (st *stage) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// verdictTime is how long a verdict may take, and some time for a busy machine.
func (s *service) verdictTime() time.Duration {
	within := max(10*time.Second, s.conf.verdict())
	for i := range s.Spec.Destinations {
		for _, c := range s.checksOf(i) {
			within = max(within, 10*time.Second+time.Duration(max(c.Rise, c.Fall))*(max(c.Interval, c.DelayBeforeRetry)+c.Timeout))
		}
	}
	return within
}
