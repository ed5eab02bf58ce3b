package oracle_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// needKernel skips unless this kernel has IPVS and lets us use it, and proves
// it by trying.
func needKernel(t *testing.T, feature string) {
	t.Helper()
	names := []string{probe.IPVS, feature}
	missing := probe.Only(context.Background(), names...).Missing(names...)
	if missing == nil {
		return
	}
	// Packaged kernels have everything but twos, which is compiled out of them.
	packaged := missing[0].Name != probe.Scheduler("twos") || missing[0].State != probe.No
	if os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" && packaged {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// pair is a service in the kernel and its model, side by side.
type pair struct {
	failer
	director *director.Director
	table    lb.Table
	model    *oracle.Model
	service  lb.Service
	script   predict.Input // what has happened so far
	picks    []string      // and what the kernel chose
}

func newPair(t failer, s lb.Service, v oracle.Variant) *pair {
	t.Helper()
	p := &pair{failer: t, service: s}
	p.script = predict.Input{Service: s, Variant: v}
	p.script.Service.Destinations = nil
	var err error
	if p.director, err = director.Open(); err != nil {
		t.Fatal(err)
	}
	if p.table, err = ipvs.Open(context.Background(), p.director.Path()); err != nil {
		t.Fatal(err)
	}
	if s.FWMark != 0 {
		if err := p.director.Mark(s.FWMark); err != nil {
			t.Fatal(err)
		}
	}
	dests := s.Destinations
	s.Destinations = nil
	if err := p.apply(lb.Change{Op: lb.AddService, Service: s}); err != nil {
		t.Fatal(err)
	}
	if p.model, err = oracle.New(s, v); err != nil {
		t.Fatal(err)
	}
	for _, d := range dests {
		p.add(d)
	}
	return p
}

func (p *pair) close() {
	p.Helper()
	if err := errors.Join(p.table.Close(), p.director.Close()); err != nil {
		p.Fatal(err)
	}
}

func (p *pair) apply(c lb.Change) error { return p.table.Apply(context.Background(), c) }

func (p *pair) change(op lb.Op, d lb.Destination) error {
	return p.apply(lb.DestChange(op, p.service.Key, d))
}

// both checks that the kernel and the model do or refuse the same change.
func (p *pair) both(e predict.Event, kernel, model error) {
	p.Helper()
	if (kernel == nil) != (model == nil) {
		p.Fatalf("%s: kernel says %v, model says %v", e, kernel, model)
	}
	if model == nil {
		p.note(e)
	}
}

func (p *pair) note(e predict.Event) { p.script.Events = append(p.script.Events, e) }

func (p *pair) add(d lb.Destination) {
	p.Helper()
	p.both(predict.Event{Verb: predict.Add, Dest: d}, p.change(lb.AddDestination, d), p.model.Add(d))
}

func (p *pair) edit(d lb.Destination) {
	p.Helper()
	p.both(predict.Event{Verb: predict.Edit, Dest: d}, p.change(lb.EditDestination, d), p.model.Edit(d))
}

func (p *pair) remove(k lb.DestKey) {
	p.Helper()
	p.both(predict.Event{Verb: predict.Remove, Dest: lb.Destination{DestKey: k}}, p.change(lb.DeleteDestination, lb.Destination{DestKey: k}), p.model.Remove(k))
}

func (p *pair) editService(s lb.Service) {
	p.Helper()
	p.service = s
	if err := errors.Join(p.apply(lb.Change{Op: lb.EditService, Service: s}), p.model.EditService(s)); err != nil {
		p.Fatal(err)
	}
}

func (p *pair) packet(c oracle.Conn, f director.Flags) director.Packet {
	p.Helper()
	dst, protocol := c.Virtual, c.Protocol
	if !dst.IsValid() {
		dst = netip.AddrPortFrom(p.service.Addr, p.service.Port)
	}
	if protocol == 0 {
		protocol = p.service.Protocol
	}
	return director.Packet{Protocol: protocol, Src: c.Client, Dst: dst, Flags: f}
}

// open sends a first packet and compares the kernel's choice with the model's.
func (p *pair) open(c oracle.Conn) oracle.Outcome {
	p.Helper()
	var want oracle.Outcome
	before := p.model.Destinations()
	want.Dest, want.OK = p.model.Pick(c)
	fate, got, err := p.director.Offer(p.packet(c, director.SYN))
	if err != nil {
		p.Fatal(err)
	}
	p.note(predict.Event{Verb: predict.Open, Conn: c})
	p.picks = append(p.picks, "refused")
	if want.OK {
		p.picks[len(p.picks)-1] = want.Dest.String()
	}
	expected := director.Forwarded
	if !want.OK {
		expected = director.Refused
	}
	goal := want.Dest
	if want.OK && p.service.FWMark != 0 && p.service.Timeout > 0 {
		goal.Port = c.Virtual.Port() // see oracle.Model.Pick
	}
	if fate != expected || got != goal {
		p.Fatalf("pick %d of %s: client %v was %s to %v; the model says %v, %t\nmodel: %+v",
			len(p.picks), p.service.Scheduler, c.Client, fate, got, want.Dest, want.OK, before)
	}
	return want
}

// finish ends a half-open TCP connection: a FIN of the client's takes it from
// SYN_RECV to TIME_WAIT (ip_vs_proto_tcp.c, tcp_states). But while its
// destination is removed, packets are dropped and change nothing.
func (p *pair) finish(c oracle.Conn, to lb.DestKey) {
	p.Helper()
	fate, _, err := p.director.Offer(p.packet(c, director.FIN|director.ACK))
	if err != nil {
		p.Fatal(err)
	}
	want := director.Lost
	if p.present(to) {
		want = director.Forwarded
		if err := p.model.Finish(c); err != nil {
			p.Fatal(err)
		}
		p.note(predict.Event{Verb: predict.Finish, Conn: c})
	}
	if fate != want {
		p.Fatalf("FIN of %v was %s, not %s", c.Client, fate, want)
	}
}

func (p *pair) present(k lb.DestKey) bool {
	return slices.ContainsFunc(p.model.Destinations(), func(s oracle.State) bool { return s.Dest == k })
}

// compareCounts compares all connection counters, which may have to settle
// while entries expire.
func (p *pair) compareCounts() {
	p.Helper()
	var diff string
	for deadline := time.Now().Add(5 * time.Second); ; {
		var want, got []string
		list, err := p.table.Destinations(context.Background(), p.service.Key)
		if err != nil {
			p.Fatal(err)
		}
		slices.Reverse(list) // newest first
		for _, d := range list {
			got = append(got, fmt.Sprintf("%v weight %d: %d active, %d inactive", d.DestKey, d.Weight, d.Counters.Active, d.Counters.Inactive))
		}
		for _, d := range p.model.Destinations() {
			want = append(want, fmt.Sprintf("%v weight %d: %d active, %d inactive", d.Dest, d.Weight, d.Active, d.Inactive))
		}
		if diff = cmp.Diff(want, got); diff == "" {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("counters (-model +kernel):\n%s", diff)
		}
	}
}

// kernelServer is real server n of the director's scratch namespace.
func kernelServer(f lb.Family, n int, weight int32) lb.Destination {
	addr := netip.AddrFrom4([4]byte{10, 98, byte(n >> 8), byte(n)})
	if f == lb.IPv6 {
		addr = director.Servers6.Addr()
		raw := addr.As16()
		raw[14], raw[15] = byte(n>>8), byte(n)
		addr = netip.AddrFrom16(raw)
	}
	return lb.Destination{DestKey: lb.DestKey{Addr: addr, Port: uint16(8000 + n)}, Weight: weight}
}

func kernelVIP(f lb.Family, n int) netip.Addr {
	if f == lb.IPv6 {
		raw := director.VIPs6.Addr().As16()
		raw[15] = byte(n)
		return netip.AddrFrom16(raw)
	}
	return netip.AddrFrom4([4]byte{10, 99, 0, byte(n)})
}

func kernelClient(f lb.Family, n int) oracle.Conn {
	addr := netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)})
	if f == lb.IPv6 {
		addr = netip.AddrFrom16([16]byte{0xfd, 0x16, 5: byte(n >> 8), 15: byte(n)})
	}
	return oracle.Conn{Client: netip.AddrPortFrom(addr, uint16(1024+n%60000))}
}
