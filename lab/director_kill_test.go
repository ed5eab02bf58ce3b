package lab_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/embedded"
)

// TestDirectorKilledWhileApplying kills an embedded director in the middle of
// its work, several times. Each time another one is told the same and finishes
// the work: what is wanted is there, what is not wanted any more is gone, and
// connections through the table never notice.
func TestDirectorKilledWhileApplying(t *testing.T) {
	needIPVS(t)
	dir := stateRoot(t)
	p := directed(t, "midapply", "rs1: {role: realserver,", "rs1: {role: realserver, serve: [{tcp: 80}],",
		"rs2: {role: realserver,", "rs2: {role: realserver, serve: [{tcp: 80}],")
	l := up(t, p, lab.Options{})
	streams := openStreams(t, l, 10)
	node, err := l.Node("director")
	if err != nil {
		t.Fatal(err)
	}
	cfg := embedded.Config{Node: "director", Control: filepath.Join(t.TempDir(), "control.sock"), Memory: filepath.Join(t.TempDir(), "owned.json")}
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	interrupted := 0
	for round := range rounds {
		// Every round wants the web, as it is, and others than before.
		cfg.Services = append([]embedded.Service{{Name: "web", Spec: p.Services[0].Spec}}, manyServices(uint16(1000+500*round), 200)...)
		victim := startDirector(t, node, cfg)
		if killedAmid(t, l, victim, len(cfg.Services)) {
			interrupted++
		}
		alive(t, streams)
		successor := startDirector(t, node, cfg)
		awaitStatus(t, successor, cfg)
		left := lb.Diff(table(t, l), specs(cfg), lb.DiffOptions{Foreign: lb.TakeOver})
		if len(left) > 0 {
			t.Errorf("round %d: after the successor's work there are still %d changes to make: %v ...", round, len(left), left[0])
		}
		alive(t, streams)
		if err := successor.Process.Kill(); err != nil { // before the next round, without a clean stop
			t.Fatal(err)
		}
		successor.Wait()
	}
	if interrupted == 0 {
		t.Error("no director was killed in the middle of its work")
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
}

// manyServices are services with ten real servers each, at ports from one on.
func manyServices(from uint16, n int) []embedded.Service {
	var out []embedded.Service
	for i := range n {
		s := lb.Service{Key: lb.AddrKey(lb.TCP, netip.MustParseAddr("10.9.0.100"), from+uint16(i)), Scheduler: "rr"}
		for host := range byte(10) {
			d := lb.DestKey{Addr: netip.AddrFrom4([4]byte{10, 9, 1, 100 + host}), Port: 80}
			s.Destinations = append(s.Destinations, lb.Destination{DestKey: d, Weight: 1})
		}
		out = append(out, embedded.Service{Name: fmt.Sprintf("many-%d", i), Spec: s})
	}
	return out
}

func specs(cfg embedded.Config) []lb.Service {
	var out []lb.Service
	for _, s := range cfg.Services {
		out = append(out, s.Spec)
	}
	return out
}

// startDirector starts this test's binary as an embedded director in the node.
func startDirector(t *testing.T, node *lab.Node, cfg embedded.Config) *exec.Cmd {
	t.Helper()
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = []string{"ipvslab-director", file}
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := node.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// killedAmid kills a director once part of its services are in the table, and
// tells whether it had not done all.
func killedAmid(t *testing.T, l *lab.Lab, victim *exec.Cmd, all int) bool {
	t.Helper()
	node, err := l.Node("director")
	if err != nil {
		t.Fatal(err)
	}
	tab, err := node.Table(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	before, err := tab.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		services, err := tab.List(ctx)
		if err != nil {
			t.Fatalf("the director did nothing: %v", err)
		}
		if len(services) > len(before)+all/10 {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("the director did nothing")
		case <-tick.C:
		}
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	victim.Wait()
	services, err := tab.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("killed when the table held %d services, of %d and %d from before", len(services), all, len(before))
	return len(services) != all
}

// awaitStatus waits until a director has done its work.
func awaitStatus(t *testing.T, cmd *exec.Cmd, cfg embedded.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := embedded.Client{Socket: cfg.Control}.Status(ctx)
		if err == nil && s.PID == cmd.Process.Pid {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the successor does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// stream is an open connection through the VIP to a server that echoes.
type stream struct {
	net.Conn
	*bufio.Reader
}

func openStreams(t *testing.T, l *lab.Lab, n int) []stream {
	t.Helper()
	client, err := l.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	var out []stream
	for range n {
		var conn net.Conn
		err := client.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(l.Plan().Services[0].Spec.Addr, 80).String(), 5*time.Second)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		s := stream{conn, bufio.NewReader(conn)}
		if _, err := s.ReadString('\n'); err != nil { // who it is
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// alive sends a line over every stream and expects it back.
func alive(t *testing.T, streams []stream) {
	t.Helper()
	for i, s := range streams {
		s.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(s.Conn, "still %d\n", i)
		if got, err := s.ReadString('\n'); err != nil || got != fmt.Sprintf("still %d\n", i) {
			t.Errorf("stream %d: %q, %v", i, got, err)
		}
	}
}
