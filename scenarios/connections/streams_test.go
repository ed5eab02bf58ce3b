package connections_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/topology"
)

// streams is the running lab of testdata/streams.yaml.
type streams struct {
	*testing.T
	*lab.Lab
	table *ipvs.Table
	ctl   *lb.Controller
}

func upStreams(t *testing.T) *streams {
	t.Helper()
	needKernel(t)
	t.Setenv("IPVSLAB_STATE", t.TempDir())
	plan, _, err := topology.Open("testdata/streams.yaml", fmt.Sprintf("streams-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Up(t.Context(), plan, lab.Options{Agent: lab.InProcess})
	if err != nil {
		t.Fatal(err)
	}
	s := &streams{T: t, Lab: l}
	t.Cleanup(func() { s.must(l.Down(context.Background())) })
	s.table, err = s.node("director").Table(t.Context())
	s.must(err)
	t.Cleanup(func() { s.must(s.table.Close()) })
	var keys []lb.Key
	for _, service := range plan.Services {
		keys = append(keys, service.Spec.Key)
	}
	s.ctl = lb.NewController(s.table, lb.ControllerOptions{Owned: keys})
	return s
}

// in is the lab in a subtest.
func (s *streams) in(t *testing.T) *streams {
	within := *s
	within.T = t
	return &within
}

func (s *streams) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *streams) node(name string) *lab.Node {
	s.Helper()
	n, err := s.Node(name)
	s.must(err)
	return n
}

func (s *streams) service(name string) topology.Service {
	s.Helper()
	all := s.Plan().Services
	i := slices.IndexFunc(all, func(o topology.Service) bool { return o.Name == name })
	if i < 0 {
		s.Fatalf("no service %s", name)
	}
	return all[i]
}

// on has the controller write changes of a service's first real server.
func (s *streams) on(service topology.Service, op lb.Op) {
	s.Helper()
	_, err := s.ctl.Apply(s.Context(), lb.DestChange(op, service.Spec.Key, service.Spec.Destinations[0]))
	s.must(err)
}

// outcomes counts what became of connections, by who had opened them.
func outcomes(conns []traffic.Connection) string {
	counts := map[string]int{}
	for _, c := range conns {
		counts[fmt.Sprintf("%s %s", c.Identity, c.Outcome)]++
	}
	var out []string
	for k, n := range counts {
		out = append(out, fmt.Sprintf("%d %s", n, k))
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return strings.Join(out, ", ")
}

// TestStreamsSurviveADrain takes a real server out under held connections: by
// a drain, which cuts none, and at once, with either expire_nodest_conn. The
// three are each other's planted defect.
func TestStreamsSurviveADrain(t *testing.T) {
	s := upStreams(t)
	s.must(s.table.SetTimeouts(t.Context(), lb.Timeouts{TCPFin: time.Second}))
	for _, v := range []struct{ service, want string }{
		{"drained", "opened: 3 rs1 answered, 3 rs2 answered; then: 3 rs1 answered, 3 rs2 answered; new: 4 rs2 answered; left at rs1: 0; after all: 7 rs2 answered"},
		{"removed", "opened: 3 rs1 answered, 3 rs2 answered; then: 3 rs1 timeout, 3 rs2 answered; new: 4 rs2 answered; after all: 7 rs2 answered"},
		{"flushed", "opened: 3 rs1 answered, 3 rs2 answered; then: 3 rs1 reset, 3 rs2 answered; new: 4 rs2 answered; after all: 7 rs2 answered"},
	} {
		t.Run(v.service, func(t *testing.T) {
			if got := s.in(t).takeOut(t.Context(), v.service); got != v.want {
				t.Error(cmp.Diff(v.want, got))
			}
		})
	}
}

func (s *streams) takeOut(ctx context.Context, name string) string {
	s.Helper()
	service := s.service(name)
	// A connection of which nothing comes back is given up after a while.
	spec := traffic.Spec{Protocol: traffic.TCP, To: netip.AddrPortFrom(service.Spec.Addr, service.Spec.Port), Hold: true, Timeout: 3 * time.Second}
	session, err := traffic.NewSession(s.node("client").Do, spec)
	s.must(err)
	defer func() { s.must(session.Close()) }()
	var said []string
	say := func(what, format string, args ...any) { said = append(said, what+": "+fmt.Sprintf(format, args...)) }

	conns, err := session.Open(ctx, 6)
	s.must(err)
	say("opened", "%s", outcomes(conns))
	switch name {
	case "drained":
		_, err := s.ctl.SetWeight(ctx, service.Spec.Key, service.Spec.Destinations[0].DestKey, 0)
		s.must(err)
	case "removed":
		s.on(service, lb.DeleteDestination)
	case "flushed":
		s.sysctl("director", "net.ipv4.vs.expire_nodest_conn", "1")
		s.on(service, lb.DeleteDestination)
		s.await("flush", func() bool { return s.entriesAt(ctx, service) == 0 })
	}
	checked, err := session.Check(ctx)
	s.must(err)
	say("then", "%s", outcomes(checked))
	fresh, err := session.Open(ctx, 4)
	s.must(err)
	say("new", "%s", outcomes(fresh))
	if name == "drained" {
		s.must(session.CloseConns(ctx, traffic.CloseClient, at(conns, "rs1")...))
		s.await("end of the drain", func() bool { return s.entriesAt(ctx, service) == 0 })
		say("left at rs1", "%d", s.entriesAt(ctx, service))
		s.on(service, lb.DeleteDestination)
	}
	again, err := session.Check(ctx, append(at(conns, "rs2"), at(fresh, "rs2")...)...)
	s.must(err)
	say("after all", "%s", outcomes(again))
	return strings.Join(said, "; ")
}

// at are the connections that a real server has.
func at(conns []traffic.Connection, identity string) []int {
	var out []int
	for _, c := range conns {
		if c.Identity == identity {
			out = append(out, c.Index)
		}
	}
	return out
}

// entriesAt counts the entries of a service's first real server.
func (s *streams) entriesAt(ctx context.Context, service topology.Service) int {
	s.Helper()
	conns, err := s.table.Conns(ctx)
	s.must(err)
	conns = slices.DeleteFunc(conns, func(c lb.Conn) bool {
		return c.Virtual.Addr() != service.Spec.Addr || c.Real.Addr() != service.Spec.Destinations[0].Addr
	})
	return len(conns)
}

func (s *streams) sysctl(node, key, value string) {
	s.Helper()
	s.must(s.node(node).Do(func() error { return new(rtnl.Settings).Set(rtnl.Sysctl{Key: key, Value: value}) }))
}

func (s *streams) await(what string, met func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeoutCause(s.Context(), flushTimeout, errors.New("not seen in time"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-ctx.Done():
			s.Fatalf("%s: %v", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
