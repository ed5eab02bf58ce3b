package embedded_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/embedded"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/lbtest"
)

// accepting is a server that takes connections and does nothing with them.
func accepting(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l
}

// TestChecksMoveTheTable has real servers on the loopback go and come.
func TestChecksMoveTheTable(t *testing.T) {
	var table lbtest.Fake
	s := web(80)
	s.RealServers = []string{"rs1", "rs2"}
	s.Check = &health.Check{
		Kind: health.TCP, Interval: 5 * time.Millisecond, DelayBeforeRetry: time.Millisecond, Timeout: time.Second, Rise: 1, Fall: 1,
	}
	s.Quorum = 2
	s.Sorry = &health.Sorry{Destination: lb.Destination{DestKey: lb.DestKey{Addr: netip.MustParseAddr("10.1.0.9"), Port: 80}, Weight: 1}}
	var listeners []net.Listener
	for range 2 {
		l := accepting(t, "127.0.0.1:0")
		listeners = append(listeners, l)
		at := netip.MustParseAddrPort(l.Addr().String())
		s.Spec.Destinations = append(s.Spec.Destinations, lb.Destination{DestKey: lb.DestKey{Addr: at.Addr(), Port: at.Port()}, Weight: 1})
	}
	client, _ := start(t, embedded.Config{Node: "d1", Services: []embedded.Service{s}}, embedded.Options{Table: &table})
	lists := table.Lists()
	addrs := func() string {
		var out []string
		for _, d := range list(t, &table)[0].Destinations {
			out = append(out, d.Addr.String())
		}
		return strings.Join(out, " ")
	}
	await := func(since uint64, kind embedded.Kind, server, to string) uint64 {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		e, err := client.Await(ctx, since, func(e embedded.Event) bool { return e.Kind == kind && e.RealServer == server && e.To == to })
		if err != nil {
			t.Fatal(err)
		}
		if e, err = client.Await(ctx, e.Seq, func(e embedded.Event) bool { return e.Kind == embedded.Table }); err != nil || e.Error != "" {
			t.Fatal(e.Error, err)
		}
		return e.Seq
	}
	listeners[1].Close()
	since := await(0, embedded.Checked, "rs2", "down")
	if got := addrs(); got != "10.1.0.9" {
		t.Errorf("without quorum the table has %s", got)
	}
	status, err := client.Status(t.Context())
	if err != nil || len(status.Servers) != 2 || !status.Servers[0].Up || status.Servers[1].Up || status.Servers[1].Failure == "" {
		t.Errorf("status %+v, %v", status, err)
	}
	accepting(t, listeners[1].Addr().String())
	await(since, embedded.Quorum, "", "gained")
	if got := addrs(); got != "127.0.0.1 127.0.0.1" {
		t.Errorf("with quorum the table has %s", got)
	}
	if n := table.Lists() - lists; n > 3 { // this test's own
		t.Errorf("%d looks at the whole table", n)
	}
}

// TestTableThatRefuses: a verdict that can't be put into effect is told, and stays in the status.
func TestTableThatRefuses(t *testing.T) {
	refuse := make(chan struct{})
	table := lbtest.Fake{Refuse: func(c lb.Change) error {
		select {
		case <-refuse:
			return errors.New("no room")
		default:
			return nil
		}
	}}
	l := accepting(t, "127.0.0.1:0")
	at := netip.MustParseAddrPort(l.Addr().String())
	s := web(80)
	s.Spec.Destinations = []lb.Destination{{DestKey: lb.DestKey{Addr: at.Addr(), Port: at.Port()}, Weight: 1}}
	s.Check = &health.Check{Kind: health.TCP, Interval: 5 * time.Millisecond, Timeout: time.Second, Rise: 1, Fall: 1}
	s.Quorum = 1
	client, _ := start(t, embedded.Config{Node: "d1", Services: []embedded.Service{s}}, embedded.Options{Table: &table})
	close(refuse)
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := client.Await(ctx, 0, func(e embedded.Event) bool { return e.Kind == embedded.Table && strings.Contains(e.Error, "no room") }); err != nil {
		t.Fatal(err)
	}
	if status, err := client.Status(t.Context()); err != nil || !strings.Contains(status.Fault, "no room") {
		t.Errorf("status %+v, %v", status, err)
	}
}
