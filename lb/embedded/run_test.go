package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/embedded"
	"github.com/ipvslab/ipvslab/lb/lbtest"
)

func web(port uint16, real ...string) embedded.Service {
	s := embedded.Service{Name: "web", Spec: lb.Service{Key: lb.AddrKey(lb.TCP, netip.MustParseAddr("10.0.0.1"), port), Scheduler: "rr"}}
	for _, addr := range real {
		d := lb.Destination{DestKey: lb.DestKey{Addr: netip.MustParseAddr(addr), Port: port}, Weight: 1}
		s.Spec.Destinations = append(s.Spec.Destinations, d)
	}
	return s
}

// start runs a director until the test or stop ends it.
func start(t *testing.T, cfg embedded.Config, opts embedded.Options) (client embedded.Client, stop func() error) {
	t.Helper()
	cfg.Control = filepath.Join(t.TempDir(), "control.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- embedded.Run(ctx, cfg, opts) }()
	stop = func() error { cancel(); return <-ended }
	client = embedded.Client{Socket: cfg.Control}
	deadline, end := context.WithTimeout(t.Context(), 30*time.Second)
	defer end()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := client.Status(deadline)
		if err == nil {
			return client, stop
		}
		select {
		case early := <-ended:
			t.Fatalf("it ended: %v", early)
		case <-deadline.Done():
			t.Fatalf("it does not answer: %v", err)
		case <-tick.C:
		}
	}
}

func TestLife(t *testing.T) {
	var table lbtest.Fake
	var log bytes.Buffer
	cfg := embedded.Config{Node: "d1", Services: []embedded.Service{web(80, "10.1.0.1", "10.1.0.2")}, Clear: true}
	client, stop := start(t, cfg, embedded.Options{Table: &table, Log: &log})
	services := list(t, &table)
	if len(services) != 1 || len(services[0].Destinations) != 2 {
		t.Fatalf("table: %+v", services)
	}
	status, err := client.Status(t.Context())
	if err != nil || status.Node != "d1" || len(status.Services) != 1 || status.Fault != "" {
		t.Fatalf("status %+v, %v", status, err)
	}
	next := cfg
	next.Control = client.Socket
	next.Services = []embedded.Service{web(81, "10.1.0.3")}
	if err := client.Reload(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if services = list(t, &table); len(services) != 1 || services[0].Port != 81 {
		t.Fatalf("table after reload: %+v", services)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := client.Await(ctx, status.Event, func(e embedded.Event) bool { return e.Kind == embedded.Reloaded }); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if services = list(t, &table); len(services) != 0 {
		t.Errorf("left in the table: %+v", services)
	}
	checkLog(t, log.String(), "table started table reloaded stopping stopped")
}

func list(t *testing.T, table lb.Table) []lb.Service {
	t.Helper()
	services, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return services
}

// checkLog compares the kinds of the events in a log, which are numbered from 1.
func checkLog(t *testing.T, log, want string) {
	t.Helper()
	var kinds []string
	for line := range strings.Lines(log) {
		var e embedded.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		kinds = append(kinds, string(e.Kind))
		if e.Seq != uint64(len(kinds)) || e.Node == "" || e.Time.IsZero() {
			t.Errorf("event %d: %+v", len(kinds), e)
		}
	}
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("events %s, want %s", got, want)
	}
}

func TestStopKeepsTheTable(t *testing.T) {
	var table lbtest.Fake
	_, stop := start(t, embedded.Config{Node: "d1", Services: []embedded.Service{web(80, "10.1.0.1")}}, embedded.Options{Table: &table})
	if err := stop(); err != nil || len(list(t, &table)) != 1 {
		t.Errorf("%v, table %+v", err, list(t, &table))
	}
}

func TestReloadRefuses(t *testing.T) {
	var table lbtest.Fake
	client, _ := start(t, embedded.Config{Node: "d1", Services: []embedded.Service{web(80, "10.1.0.1")}}, embedded.Options{Table: &table})
	wrong := embedded.Config{Node: "d1", Control: client.Socket, Services: []embedded.Service{web(80), web(80)}}
	if err := client.Reload(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "are both") {
		t.Errorf("two services of one key: %v", err)
	}
	if err := client.Reload(t.Context(), embedded.Config{Node: "d2"}); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("another node: %v", err)
	}
	if len(list(t, &table)) != 1 {
		t.Error("the table was changed")
	}
}

func TestFailureToBegin(t *testing.T) {
	table := &lbtest.Fake{Refuse: func(lb.Change) error { return errors.New("no room") }}
	cfg := embedded.Config{Node: "d1", Services: []embedded.Service{web(80)}}
	if err := embedded.Run(t.Context(), cfg, embedded.Options{Table: table}); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v", err)
	}
}
