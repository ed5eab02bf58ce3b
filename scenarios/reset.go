package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/internal/poll"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
)

const (
	nodestKey = "net.ipv4.vs.expire_nodest_conn"
	// flushTimeout is for the flush of connection entries: the kernel's worker
	// offers the processor to others at each of the table's buckets
	// (ip_vs_conn.c, ip_vs_expire_nodest_conn_flush), and so takes milliseconds
	// on an idle machine and many seconds on a busy one.
	flushTimeout = 90 * time.Second
	pollInterval = 5 * time.Millisecond
)

// reset gives the service the state of one that was just added: no connection
// entries, no persistence, live counters at zero, a scheduler that begins. (For the
// statistics see settleStatistics.) Without that its destinations would come back from the kernel's trash with what they
// had (ip_vs_ctl.c, ip_vs_trash_get_dest). It is put back as it was in the
// table; which is returned.
func (s *service) reset(ctx context.Context) lb.Service {
	ginkgo.GinkgoHelper()
	ginkgo.By(fmt.Sprintf("setting %s of %s up afresh", s.Name, s.director))
	table := s.st.table(ctx, s.director)
	have, err := table.Get(ctx, s.Spec.Key)
	must(err)
	for tries := 1; ; tries++ {
		err = withSysctl(s.st.node(s.director), nodestKey, "1", func() error { return s.clear(ctx, have) })
		// Whatever happened, the table is to be as it was.
		again, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		restored := table.Apply(again, additions(have)...)
		cancel()
		if err == nil && tries < 3 && errors.Is(restored, lb.ErrServiceExists) {
			continue // the director was faster, see clear
		}
		must(errors.Join(err, restored))
		break
	}
	fresh, err := table.Get(ctx, s.Spec.Key)
	must(err)
	for _, d := range fresh.Destinations {
		if c := d.Counters; c.Active+c.Inactive+c.Persistent != 0 {
			ginkgo.Fail(fmt.Sprintf("%s was set up afresh, but its real server %s begins with %d active, %d inactive and %d persistent connections",
				s.Name, d.DestKey, c.Active, c.Inactive, c.Persistent))
		}
	}
	s.touched = true
	return have
}

// withSysctl makes a setting in a node while fn runs.
func withSysctl(n *lab.Node, key, value string, fn func() error) (err error) {
	set := func(v string) error {
		return n.Do(func() error { return new(rtnl.Settings).Set(rtnl.Sysctl{Key: key, Value: v}) })
	}
	var old string
	if err := n.Do(func() (err error) { old, err = rtnl.ReadSysctl(key); return err }); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
	if old != value {
		if err := set(value); err != nil {
			return fmt.Errorf("node %s: %w", n.Name(), err)
		}
		defer func() { err = errors.Join(err, set(old)) }()
	}
	return fn()
}

// additions are the changes that put a service back. A destination with
// thresholds is added without them and then edited: adding it without them
// takes the mark of overload away that it may have kept in the trash.
func additions(have lb.Service) []lb.Change {
	changes := []lb.Change{{Op: lb.AddService, Service: have}}
	for _, d := range have.Destinations {
		for i, step := range stepsToAdd(d) {
			op := lb.AddDestination
			if i > 0 {
				op = lb.EditDestination
			}
			changes = append(changes, lb.DestChange(op, have.Key, step))
		}
	}
	return changes
}

// stepsToAdd are the states in which a destination comes into the table.
func stepsToAdd(d lb.Destination) []lb.Destination {
	if d.Upper == 0 && d.Lower == 0 {
		return []lb.Destination{d}
	}
	bare := d
	bare.Upper, bare.Lower = 0, 0
	return []lb.Destination{bare, d}
}

// clear takes the service out of the table and waits until the kernel has
// flushed its entries. A director that is just done with a change of its own
// looks whether the table is as it has left it, and puts back what it misses:
// that is taken out again.
func (s *service) clear(ctx context.Context, have lb.Service) error {
	table := s.st.table(ctx, s.director)
	var left []lb.Conn
	putBack := -1
	err := until(ctx, s.flushTime(), func() (done bool, err error) {
		switch err := table.Apply(ctx, lb.Change{Op: lb.DeleteService, Service: have}); {
		case err == nil:
			putBack++
			return false, nil
		case !errors.Is(err, lb.ErrNoService):
			return false, err
		}
		left, err = s.entries(ctx)
		return len(left) == 0, err
	})
	if err != nil {
		often := ""
		if putBack > 0 {
			often = fmt.Sprintf("; somebody has put the service back %d times", putBack)
		}
		return fmt.Errorf("flush the connections of %s, of which %d are left%s%s: %w", s.Name, len(left), s.st.owners(ctx, left), often, err)
	}
	return nil
}

// flushTime is how long the kernel may take to flush a service's connections.
func (s *service) flushTime() time.Duration {
	if s.st.failed && s.st.first.tables != nil { // others may own them
		return patientSettle / 2
	}
	return flushTimeout
}

// owners says which other services have the real servers of connection entries:
// a flush takes only those of real servers that are gone.
func (st *stage) owners(ctx context.Context, left []lb.Conn) string {
	var found []string
	for _, director := range slices.Sorted(maps.Keys(st.tables)) {
		services, err := st.tables[director].List(ctx)
		if err != nil {
			continue
		}
		for _, other := range services {
			if slices.ContainsFunc(other.Destinations, func(d lb.Destination) bool {
				return slices.ContainsFunc(left, func(c lb.Conn) bool { return c.Real.Addr() == d.Addr })
			}) {
				found = append(found, fmt.Sprintf("%s of %s", other.Key, director))
			}
		}
	}
	if found == nil {
		return ""
	}
	return " (services with the same real servers: " + strings.Join(found, ", ") + ")"
}

// entries are the director's connection entries and templates of the service.
func (s *service) entries(ctx context.Context) ([]lb.Conn, error) {
	all, err := s.st.table(ctx, s.director).Conns(ctx)
	return slices.DeleteFunc(all, func(c lb.Conn) bool { return !s.serves(c) }), err
}

// errSlow: a condition did not come about.
var errSlow = errors.New("not seen in time")

// until asks until the condition is met, fails, or time is up.
func until(ctx context.Context, within time.Duration, met func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%w (%v)", errSlow, within))
	defer cancel()
	pace := poll.Start()
	for {
		ok, err := met()
		if ok || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-pace.Again():
		}
	}
}
