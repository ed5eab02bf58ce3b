package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// settle waits until real servers that are checked are in the tables. Those
// that are not then are a spec's business.
func (st *stage) settle(ctx context.Context) {
	if slices.ContainsFunc(st.services, func(s *service) bool { return s.watched() }) {
		_ = until(ctx, st.settleTime(), func() (bool, error) { return st.unplanned(ctx) == nil, nil })
	}
}

// settleTime bounds the wait for real servers that are down until they have
// been checked, at the beginning (alpha) or when a fault is mended.
func (st *stage) settleTime() time.Duration {
	within := firstChecks
	for _, s := range st.services {
		if s.watched() {
			within = max(within, s.verdictTime())
		}
	}
	return within
}

// quietTime is how long a table stays as it is at most until checks that fail
// without an answer change it, if they are to do so.
func (s *service) quietTime() time.Duration {
	most := s.conf.notice() + time.Duration(s.conf.retry+1)*s.conf.timeout
	for i := range s.Spec.Destinations {
		for _, c := range s.checksOf(i) {
			n := time.Duration(max(c.Rise, c.Fall, 1))
			most = max(most, c.Interval+n*c.Timeout+(n-1)*c.DelayBeforeRetry+500*time.Millisecond)
		}
	}
	return most
}

// awaitVerdicts waits, after faults, until the checks of the service's real
// servers have had their say: connections that come sooner go to servers that
// are already dead. It returns the table.
func (s *service) awaitVerdicts(ctx context.Context) lb.Service {
	ginkgo.GinkgoHelper()
	table := s.st.table(ctx, s.director)
	last, err := table.Get(ctx, s.Spec.Key)
	must(err)
	if !s.watched() {
		return last
	}
	quiet, since := s.quietTime(), time.Now()
	ginkgo.By(fmt.Sprintf("waiting until the checks have left the table as it is for %v", quiet))
	err = until(ctx, s.verdictsTime(), func() (bool, error) {
		now, err := table.Get(ctx, s.Spec.Key)
		if err == nil && len(lb.Diff([]lb.Service{last}, []lb.Service{now}, lb.DiffOptions{})) > 0 {
			last, since = now, time.Now()
		}
		return time.Since(since) >= quiet, err
	})
	if errors.Is(err, errSlow) {
		note("the checks of %s change its table all the time", s.Name)
		return last
	}
	must(err)
	return last
}

// verdictsTime bounds that wait.
func (s *service) verdictsTime() time.Duration { return 3*s.quietTime() + s.verdictTime() }

// follow has a model follow what checks have made of the table since.
func follow(m *oracle.Model, before, now lb.Service) {
	for _, c := range lb.Diff([]lb.Service{before}, []lb.Service{now}, lb.DiffOptions{}) {
		switch c.Op {
		case lb.AddDestination:
			must(m.Add(c.Destination))
		case lb.EditDestination:
			must(m.Edit(c.Destination))
		case lb.DeleteDestination:
			must(m.Remove(c.Destination.DestKey))
		}
	}
}
