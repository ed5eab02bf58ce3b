package traffic

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lab/capture"
)

// needSCTP skips the test where the kernel has no SCTP sockets.
func needSCTP(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err == nil {
		unix.Close(fd)
		return
	}
	if errors.Is(err, unix.EPROTONOSUPPORT) && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1" {
		t.Skipf("this kernel has no SCTP: %v", err)
	}
	t.Fatalf("open an SCTP socket: %v", err)
}

// sctpPair has a responder at each of the server's addresses.
func sctpPair(t *testing.T) (pair, *Host) {
	t.Helper()
	needSCTP(t)
	p := newPair(t)
	return p, startHost(t, p.server, ResponderSpec{
		Node: "rs1", Protocol: SCTP, Port: 7,
		Addrs: []netip.Addr{netip.MustParseAddr(serverV4), netip.MustParseAddr(serverV6)},
	})
}

func TestSCTPOverBothFamilies(t *testing.T) {
	p, h := sctpPair(t)
	for _, to := range []string{serverV4, serverV6} {
		for _, concurrency := range []int{1, 7} {
			before := h.Accepted(0).Next
			res, err := Run(t.Context(), p.client, Spec{Protocol: SCTP, To: at(to, 7), Connections: 20, Concurrency: concurrency})
			must(t, err)
			if diff := cmp.Diff(map[string]int{"rs1": 20}, res.Identities); diff != "" {
				t.Errorf("to %s: identities (-want +got):\n%s%v", to, diff, res.Errors)
			}
			sources := map[netip.AddrPort]bool{}
			for _, a := range h.Accepted(before).Entries {
				sources[a.Remote] = true
				if a.Local != at(to, 7) || a.Protocol != SCTP {
					t.Errorf("accepted %+v, want at %s", a, to)
				}
			}
			for _, c := range res.Connections {
				if !sources[c.Source] {
					t.Errorf("client's %s was not accepted by anyone", c.Source)
				}
			}
		}
	}
}

// SCTP has no TIME_WAIT, so nothing but the client keeps a port from coming back.
func TestSCTPPortsDoNotComeBack(t *testing.T) {
	p, _ := sctpPair(t)
	const associations = 400 // ports by chance: 94 % of such runs have one twice
	res, err := Run(t.Context(), p.client, Spec{Protocol: SCTP, To: at(serverV4, 7), Connections: associations, Concurrency: 4})
	must(t, err)
	ports := map[uint16]bool{}
	for _, c := range res.Connections {
		ports[c.Source.Port()] = true
	}
	if len(ports) != associations || res.Identities["rs1"] != associations {
		t.Errorf("%d associations from %d ports, %v answered: %v", associations, len(ports), res.Identities, res.Errors)
	}
}

// chunks lists the chunks that end an association.
func chunks(c *capture.Capture, source netip.AddrPort) string {
	var seen []string
	for _, p := range c.Packets() {
		if p.Source() != source && p.Destination() != source {
			continue
		}
		switch p.Chunk {
		case capture.ChunkAbort, capture.ChunkShutdown, capture.ChunkShutdownAck, capture.ChunkShutdownComplete:
			seen = append(seen, fmt.Sprintf("%s %s", p.Direction, p.Chunk))
		}
	}
	return strings.Join(seen, ", ")
}

func TestSCTPCloseModesOnTheWire(t *testing.T) {
	p, _ := sctpPair(t)
	for how, want := range map[CloseMode]string{
		CloseClient: "out SHUTDOWN, in SHUTDOWN ACK, out SHUTDOWN COMPLETE",
		CloseServer: "in SHUTDOWN, out SHUTDOWN ACK, in SHUTDOWN COMPLETE",
		CloseReset:  "out ABORT",
	} {
		for _, hold := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s hold=%v", how, hold), func(t *testing.T) {
				wire := watch(t, p)
				res, err := Run(t.Context(), p.client, Spec{Protocol: SCTP, To: at(serverV4, 7), Connections: 2, Hold: hold, Close: how})
				must(t, err)
				for _, c := range res.Connections {
					if c.Outcome != Answered || c.Kind != "" || c.Held || c.Closed != how {
						t.Errorf("association %+v, want answered and closed by %s", c, how)
					}
					eventually(t, "the wire shows "+want, func() bool { return chunks(wire, c.Source) == want })
				}
			})
		}
	}
}

func TestSCTPOutcomes(t *testing.T) {
	p, h := sctpPair(t)
	for name, tc := range map[string]struct {
		to      netip.AddrPort
		outcome Outcome
		kind    string
	}{
		"nobody listens": {at(serverV4, 9), Refused, "ECONNREFUSED"},
		"no route":       {netip.MustParseAddrPort("192.0.2.1:80"), Failed, "ENETUNREACH"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := Run(t.Context(), p.client, Spec{Protocol: SCTP, To: tc.to})
			must(t, err)
			if c := res.Connections[0]; c.Outcome != tc.outcome || c.Kind != tc.kind {
				t.Errorf("%s %s, want %s %s", c.Outcome, c.Kind, tc.outcome, tc.kind)
			}
		})
	}
	// Held associations are asked again, and are reset with their server.
	s, err := NewSession(p.client, Spec{Protocol: SCTP, To: at(serverV4, 7), Hold: true, Timeout: 20 * time.Second})
	must(t, err)
	defer s.Close()
	_, err = s.Open(t.Context(), 3)
	must(t, err)
	alive, err := s.Check(t.Context())
	must(t, err)
	for _, c := range alive {
		if c.Outcome != Answered {
			t.Errorf("association %d doesn't echo: %+v", c.Index, c)
		}
	}
	must(t, h.Find("rs1", SCTP, 7)[0].Stop())
	dead, err := s.Check(t.Context())
	must(t, err)
	for _, c := range dead {
		if c.Outcome == Answered || c.Held {
			t.Errorf("association %d to a dead server: %+v", c.Index, c)
		}
	}
}
