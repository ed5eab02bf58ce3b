package lab_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb/embedded"
	"github.com/ipvslab/ipvslab/topology"
)

// failoverPlan is examples/failover.yaml otherwise, with real servers that keep
// streams and intervals at which nobody loses patience on a busy machine.
func failoverPlan(t *testing.T, name string, replace ...string) *topology.Plan {
	t.Helper()
	data, err := os.ReadFile("../examples/failover.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replace = append(replace, "interval: 200ms", "interval: 1s\n    start: active", "its links:\n", "its links:\n    service: web\n",
		"real1: {role: realserver,", "real1: {role: realserver, serve: [{tcp: 80}],", "real2: {role: realserver,", "real2: {role: realserver, serve: [{tcp: 80}],")
	file := filepath.Join(t.TempDir(), "failover.yaml")
	write(t, file, strings.NewReplacer(replace...).Replace(string(data)))
	p, problems, err := topology.Open(file, name)
	if err != nil {
		t.Fatalf("%v\n%v", err, problems)
	}
	return p
}

// TestReloadFailover changes priorities, the interval and a VIP of two directors
// that are up: streams and new connections go on, and nobody's state changes.
func TestReloadFailover(t *testing.T) {
	needIPVS(t)
	stateRoot(t)
	p := failoverPlan(t, labName("groups"))
	l := up(t, p, lab.Options{})
	row := &takeoverRow{t: t, l: l}
	row.agree(false)
	streams := openStreams(t, l, 4)
	stop := asking(t, l, p.Services[0].Spec.Addr)
	defer stop()
	var began []embedded.Status
	for _, node := range []string{"master", "master-backup"} {
		began = append(began, status(t, row.client(node)))
	}

	more := []string{
		"directors: [master, master-backup]", "directors: {master: 120, master-backup: 90}",
		"interval: 200ms", "interval: 2s\n    start: active\n    refresh: 1s",
		"services:\n", "services:\n  more: {vip: 192.168.1.101, port: 80, directors: main, scheduler: rr, forwarding: nat, realServers: [real1, real2]}\n",
	}
	for _, step := range []struct {
		plan *topology.Plan
		vips []string
	}{
		{failoverPlan(t, p.Name, more...), []string{"192.168.1.100", "192.168.1.101"}},
		{failoverPlan(t, p.Name), []string{"192.168.1.100"}},
	} {
		now, done, err := l.Reload(t.Context(), step.plan, lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range done {
			if d.How != "it was told its services and failover groups" {
				t.Errorf("director %s: %s", d.Node, d.How)
			}
		}
		for i, node := range []string{"master", "master-backup"} {
			st := status(t, row.client(node))
			if st.PID != began[i].PID || st.Groups[0].State != began[i].Groups[0].State || st.Groups[0].Priority != step.plan.Failover[0].Members[i].Priority {
				t.Errorf("director %s: process %d, %+v", node, st.PID, st.Groups[0])
			}
		}
		for _, vip := range step.vips {
			asking(t, now, netip.MustParseAddr(vip))()
		}
		if have := addressesOf(t, now, "master"); have["192.168.1.101"] != (len(step.vips) == 2) {
			t.Errorf("master has %v", have)
		}
		alive(t, streams)
		l = now
	}
	stop()
	for i, node := range []string{"master", "master-backup"} {
		events, err := row.client(node).Events(t.Context(), began[i].Event, 0)
		if err != nil {
			t.Fatal(err)
		}
		if at := slices.IndexFunc(events, func(e embedded.Event) bool { return e.Kind == embedded.Turned }); at >= 0 {
			t.Errorf("director %s turned: %+v", node, events[at])
		}
	}
}

func status(t *testing.T, c embedded.Client) embedded.Status {
	t.Helper()
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// addressesOf are those that the kernel has in a node.
func addressesOf(t *testing.T, l *lab.Lab, node string) map[string]bool {
	t.Helper()
	n, err := l.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	err = n.Do(func() error {
		addrs, err := net.InterfaceAddrs()
		for _, a := range addrs {
			have[netip.MustParsePrefix(a.String()).Addr().String()] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// asking has the client open connections to an address until the function it
// returns is called; each of them, and one at least, must be answered.
func asking(t *testing.T, l *lab.Lab, vip netip.Addr) (stop func()) {
	t.Helper()
	client, err := l.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	session, err := traffic.NewSession(client.Do, traffic.Spec{Protocol: traffic.TCP, To: netip.AddrPortFrom(vip, 80), Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ended, first := make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			conns, err := session.Open(context.Background(), 1)
			if err != nil || conns[0].Outcome != traffic.Answered {
				t.Errorf("connection %d to %s: %v, %+v", n+1, vip, err, conns)
			}
			if n == 0 {
				close(first)
			}
			select {
			case <-ended:
				return
			case <-tick.C:
			}
		}
	}()
	<-first
	return sync.OnceFunc(func() { close(ended); <-done; session.Close() })
}
