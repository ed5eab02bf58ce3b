package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lab/internal/vethpair"
)

func watch(t *testing.T, p pair) *capture.Capture {
	t.Helper()
	c, err := capture.Start(t.Context(), capture.Enter(p.client), capture.Options{Interface: "eth0"})
	must(t, err)
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

// flags lists a connection's TCP segments that carry SYN, FIN or RST, as
// "out S, in S., out F., ...".
func flags(c *capture.Capture, source netip.AddrPort) string {
	var seen []string
	for _, p := range c.Packets() {
		if (p.Source() == source || p.Destination() == source) && p.Flags&(capture.SYN|capture.FIN|capture.RST) != 0 {
			seen = append(seen, fmt.Sprintf("%s %s", p.Direction, p.Flags&^capture.PSH))
		}
	}
	return strings.Join(seen, ", ")
}

func TestCloseModesOnTheWire(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	for _, tc := range []struct {
		how  CloseMode
		want string
	}{
		{CloseClient, "out S, in S., out F., in F."},
		{CloseServer, "out S, in S., in F., out F."},
		{CloseReset, "out S, in S., out R."},
		{CloseVanish, "out S, in S."},
	} {
		for _, protocol := range []string{TCP, HTTP} {
			for _, hold := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s hold=%v", tc.how, protocol, hold), func(t *testing.T) {
					wire := watch(t, p)
					to := at(serverV4, 7)
					if protocol == HTTP {
						to = at(serverV4, 80)
					}
					res, err := Run(t.Context(), p.client, Spec{Protocol: protocol, To: to, Connections: 2, Hold: hold, Close: tc.how})
					must(t, err)
					for _, c := range res.Connections {
						if c.Outcome != Answered || c.Kind != "" || c.Held || c.Closed != tc.how {
							t.Errorf("connection %+v, want answered and closed by %s", c, tc.how)
						}
						eventually(t, "the wire shows "+tc.want, func() bool { return flags(wire, c.Source) == tc.want })
					}
				})
			}
		}
	}
}

func TestSessionOpensChecksAndClosesInSteps(t *testing.T) {
	p := newPair(t)
	h := startHost(t, p.server, allResponders("rs1")...)
	s, err := NewSession(p.client, Spec{Protocol: TCP, To: at(serverV4, 7), Hold: true, Timeout: 30 * time.Second})
	must(t, err)
	defer s.Close()
	first, err := s.Open(t.Context(), 3)
	must(t, err)
	second, err := s.Open(t.Context(), 2)
	must(t, err)
	if first[2].Index != 2 || second[0].Index != 3 || len(second) != 2 {
		t.Fatalf("indexes run wrongly: %+v %+v", first, second)
	}
	must(t, s.CloseConns(t.Context(), CloseServer, 1))
	must(t, s.HalfClose(3))
	if diff := cmp.Diff([]int{0, 2, 3, 4}, s.Held()); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	alive, err := s.Check(t.Context(), 0, 2, 4)
	must(t, err)
	for _, c := range alive {
		if c.Outcome != Answered {
			t.Errorf("connection %d doesn't echo: %+v", c.Index, c)
		}
	}
	// The server dies with its connections, and comes back without them.
	r := h.Find("rs1", TCP, 7)[0]
	must(t, r.Stop())
	dead, err := s.Check(t.Context(), 0, 2)
	must(t, err)
	for _, c := range dead {
		if c.Outcome == Answered || c.Held {
			t.Errorf("connection %d to a dead server: %+v", c.Index, c)
		}
	}
	refused, err := s.Open(t.Context(), 1)
	must(t, err)
	if refused[0].Outcome != Refused {
		t.Errorf("got %+v of a stopped responder, want refused", refused[0])
	}
	must(t, r.Start())
	back, err := s.Open(t.Context(), 1)
	must(t, err)
	if back[0].Outcome != Answered || back[0].Identity != "rs1" {
		t.Errorf("got %+v of a responder started again", back[0])
	}
	if err := s.CloseConns(t.Context(), CloseReset, 1); err == nil {
		t.Error("closing what is closed already is no error")
	}
	if got := s.Result(); got.Opened != 7 || got.Identities["rs1"] != 6 {
		t.Errorf("result %+v", got)
	}
}

func TestServerSideReset(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	s, err := NewSession(p.client, Spec{Protocol: TCP, To: at(serverV6, 7), Hold: true})
	must(t, err)
	defer s.Close()
	s.loop.last = []byte("reset\n")
	_, err = s.Open(t.Context(), 1)
	must(t, err)
	err = s.CloseConns(t.Context(), CloseServer)
	if outcome, kind := Classify(err); outcome != Reset || kind != "ECONNRESET" {
		t.Errorf("got %v (%s, %s), want a reset", err, outcome, kind)
	}
}

func TestHalfOpenSendsNoReset(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	for _, to := range []string{serverV4, serverV6} {
		wire := watch(t, p)
		s, err := NewSession(p.client, Spec{Protocol: TCP, To: at(to, 7), HalfOpen: true})
		must(t, err)
		conns, err := s.Open(t.Context(), 2)
		must(t, err)
		for _, c := range conns {
			eventually(t, "SYN, SYN-ACK and nothing else", func() bool {
				return strings.HasPrefix(flags(wire, c.Source), "out S, in S.")
			})
		}
		// The SYN is sent again, the SYN-ACK too, and nothing ends it.
		eventually(t, "the SYN again", func() bool {
			return strings.Count(flags(wire, conns[0].Source), "out S") >= 2
		})
		if got := flags(wire, conns[0].Source); strings.Contains(got, "R") || strings.Contains(got, "F") {
			t.Errorf("the handshake was ended: %s", got)
		}
		must(t, s.Close())
	}
}

func TestBareSYNFromForeignAddresses(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	// 198.18.0.0/16 is routed to the client but 198.19 isn't anyone's: take what the
	// server can route and the client doesn't own.
	must(t, p.client(func() error { return vethpair.Forget(vethpair.LocalToV4) }))
	sources, err := PlanSources(vethpair.LocalToV4, 5, 0)
	must(t, err)
	wire := watch(t, p)
	sent, err := SYN(t.Context(), p.client, SYNSpec{To: at(serverV4, 7), Sources: sources})
	must(t, err)
	if sent != 5 {
		t.Errorf("%d sent, want 5", sent)
	}
	for i, s := range sources {
		from := netip.AddrPortFrom(s.Addr(), uint16(1024+i))
		eventually(t, "a SYN-ACK to "+from.String(), func() bool { return strings.HasPrefix(flags(wire, from), "out S, in S.") })
		if strings.Contains(flags(wire, from), "R") {
			t.Errorf("the client's kernel meddled: %s", flags(wire, from))
		}
	}
}

func TestThousandsOfSources(t *testing.T) {
	p := newPair(t)
	h := startHost(t, p.server, allResponders("rs1")...)
	sources, err := PlanSources(vethpair.LocalToV4, 3000, 0)
	must(t, err)
	res, err := Run(t.Context(), p.client, Spec{
		Protocol: TCP, To: at(serverV4, 7), Connections: 3000, Concurrency: 64, Sources: sources,
	})
	must(t, err)
	if res.Answered() != 3000 {
		t.Fatalf("%d of 3000 answered: %v", res.Answered(), res.Errors)
	}
	clients := map[netip.Addr]bool{}
	for _, a := range h.Accepted(0).Entries {
		clients[a.Remote.Addr()] = true
	}
	if len(clients) != 3000 {
		t.Errorf("%d client addresses seen, want 3000", len(clients))
	}
	fixed, err := PlanPorts(netip.MustParseAddr("198.18.0.1"), 5000, 10)
	must(t, err)
	res, err = Run(t.Context(), p.client, Spec{Protocol: UDP, To: at(serverV4, 53), Connections: 10, Sources: fixed})
	must(t, err)
	for i, c := range res.Connections {
		if c.Source != fixed[i] || c.Outcome != Answered {
			t.Errorf("connection %d: %+v, want from %s", i, c, fixed[i])
		}
	}
}

func TestKeepAliveRateAndDuration(t *testing.T) {
	p := newPair(t)
	h := startHost(t, p.server, allResponders("rs1")...)
	res, err := Run(t.Context(), p.client, Spec{To: at(serverV4, 80), Connections: 4, Requests: 25, Concurrency: 2, Path: "/bytes?n=100000"})
	must(t, err)
	if res.Requests != 100 || res.Bytes < 100*100000 || res.Answered() != 4 {
		t.Errorf("%d requests, %d bytes, %v", res.Requests, res.Bytes, res.Outcomes)
	}
	counts := h.Find("rs1", HTTP, 80)[0].Counts()
	if counts.Accepted != 4 || counts.Requests != 100 {
		t.Errorf("server counts %d connections, %d requests; want 4, 100", counts.Accepted, counts.Requests)
	}
	var calls int
	res, err = Run(t.Context(), p.client, Spec{
		Protocol: UDP, To: at(serverV4, 53), Duration: 300 * time.Millisecond, Rate: 50, Progress: func(Progress) { calls++ },
	})
	must(t, err)
	// An open-ended run at a rate opens at most rate times duration, and one at the start.
	if res.Opened < 1 || res.Opened > 16 || calls == 0 {
		t.Errorf("%d opened in 300 ms at 50 per second, %d progress calls", res.Opened, calls)
	}
}

func TestCancelEndsARun(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := NewSession(p.client, Spec{
		To: at(serverV4, 80), Path: "/slow?d=1h", Timeout: time.Hour, Concurrency: 5,
		Progress: func(p Progress) {
			if p.Opened == 5 {
				cancel()
			}
		},
	})
	must(t, err)
	defer s.Close()
	timer := time.AfterFunc(100*time.Millisecond, cancel)
	defer timer.Stop()
	conns, err := s.Open(ctx, 10)
	if err == nil || len(conns) != 5 {
		t.Fatalf("got %d connections and %v, want 5 and the context's error", len(conns), err)
	}
	for _, c := range conns {
		if c.Kind != KindCanceled {
			t.Errorf("connection %+v, want canceled", c)
		}
	}
}

func TestASessionGoesOnAfterACallThatWasCutShort(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := NewSession(p.client, Spec{
		To: at(serverV4, 80), Path: "/slow?d=200ms", Timeout: 30 * time.Second,
		Progress: func(Progress) { cancel() },
	})
	must(t, err)
	defer s.Close()
	if _, err := s.Open(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if err := s.loop.raw.Read(func(uintptr) bool { return true }); err != nil {
		t.Errorf("it no longer waits for events, but turns and turns: %v", err)
	}
	conns, err := s.Open(t.Context(), 1)
	must(t, err)
	if len(conns) != 1 || conns[0].Outcome != Answered {
		t.Errorf("afterwards got %+v, want an answer", conns)
	}
}

func TestSpecMistakesAreAllNamed(t *testing.T) {
	_, err := NewSession(nil, Spec{Protocol: "dccp", Close: "politely", Rate: -1})
	for _, want := range []string{`"dccp"`, `"politely"`, "no address", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v doesn't mention %s", err, want)
		}
	}
}

func TestBindErrorNamesThePlace(t *testing.T) {
	p := newPair(t)
	h := startHost(t, p.server, allResponders("rs1")...)
	_, err := h.Start(p.server, ResponderSpec{Node: "rs9", Protocol: HTTP, Port: 80, Addrs: []netip.Addr{netip.MustParseAddr("10.9.0.2")}})
	if err == nil || !strings.Contains(err.Error(), "rs9: http 10.9.0.2:80: bind: address already in use") {
		t.Errorf("got %v", err)
	}
	_, err = h.Start(p.server, ResponderSpec{Node: "rs9", Protocol: UDP, Port: 99, Addrs: []netip.Addr{
		netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("192.0.2.1"),
	}})
	if _, kind := Classify(err); kind != "EADDRNOTAVAIL" {
		t.Errorf("got %v, want EADDRNOTAVAIL", err)
	}
	if n := len(h.Responders()); n != 3 {
		t.Errorf("%d responders, want the 3 that work", n)
	}
}

func TestAcceptLogForgetsTheOldest(t *testing.T) {
	l := newAcceptLog(3)
	for range 5 {
		l.add(Accepted{})
	}
	got := l.since(2)
	var seqs []uint64
	for _, e := range got.Entries {
		seqs = append(seqs, e.Seq)
	}
	if !slices.Equal(seqs, []uint64{3, 4, 5}) || got.Lost != 1 || got.Next != 6 {
		t.Errorf("got %v, lost %d, next %d", seqs, got.Lost, got.Next)
	}
}
