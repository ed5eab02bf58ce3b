package traffic

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func allResponders(node string) []ResponderSpec {
	return []ResponderSpec{
		{Node: node, Protocol: HTTP, Port: 80},
		{Node: node, Protocol: TCP, Port: 7},
		{Node: node, Protocol: UDP, Port: 53},
	}
}

func TestRunEveryProtocolOverBothFamilies(t *testing.T) {
	p := newPair(t)
	h := startHost(t, p.server, allResponders("rs1")...)
	for _, to := range []string{serverV4, serverV6} {
		for _, tc := range []struct {
			protocol string
			port     uint16
		}{{HTTP, 80}, {TCP, 7}, {UDP, 53}} {
			for _, concurrency := range []int{1, 7} {
				before := h.Accepted(0).Next
				res, err := Run(t.Context(), p.client, Spec{
					Protocol: tc.protocol, To: at(to, tc.port), Connections: 50, Concurrency: concurrency,
				})
				must(t, err)
				if diff := cmp.Diff(map[string]int{"rs1": 50}, res.Identities); diff != "" {
					t.Errorf("%s to %s: identities (-want +got):\n%s%v", tc.protocol, to, diff, res.Errors)
				}
				accepted := h.Accepted(before)
				sources := map[netip.AddrPort]bool{}
				for _, a := range accepted.Entries {
					sources[a.Remote] = true
					if a.Local.Addr().String() != to || a.Protocol != tc.protocol {
						t.Errorf("accepted %+v, want local %s %s", a, to, tc.protocol)
					}
				}
				if len(accepted.Entries) != 50 {
					t.Errorf("%s: %d accepted, want 50", tc.protocol, len(accepted.Entries))
				}
				for _, c := range res.Connections {
					if !sources[c.Source] {
						t.Errorf("%s: client's %s was not accepted by anyone", tc.protocol, c.Source)
					}
				}
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	for name, tc := range map[string]struct {
		spec    Spec
		outcome Outcome
		kind    string
	}{
		"tcp refused":  {Spec{Protocol: TCP, To: at(serverV4, 9)}, Refused, "ECONNREFUSED"},
		"http refused": {Spec{Protocol: HTTP, To: at(serverV6, 9)}, Refused, "ECONNREFUSED"},
		"udp refused":  {Spec{Protocol: UDP, To: at(serverV4, 9)}, Refused, "ECONNREFUSED"},
		"no route":     {Spec{Protocol: TCP, To: netip.MustParseAddrPort("192.0.2.1:80")}, Failed, "ENETUNREACH"},
		"foreign source": {Spec{
			Protocol: TCP, To: at(serverV4, 7),
			Sources: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0")},
		}, Failed, "EADDRNOTAVAIL"},
		"nobody answers ARP": {Spec{
			Protocol: TCP, To: netip.MustParseAddrPort("10.9.0.99:80"), Timeout: 20 * time.Second,
		}, Failed, "EHOSTUNREACH"},
		"slow": {Spec{
			Protocol: HTTP, To: at(serverV4, 80), Path: "/slow?d=1m", Timeout: 100 * time.Millisecond,
		}, TimedOut, KindDeadline},
		"status":    {Spec{Protocol: HTTP, To: at(serverV4, 80), Path: "/status?c=503"}, Failed, "http 503"},
		"half-open": {Spec{Protocol: TCP, To: at(serverV4, 7), HalfOpen: true}, HalfOpen, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.spec.Connections, tc.spec.Concurrency = 3, 3
			res, err := Run(t.Context(), p.client, tc.spec)
			must(t, err)
			if diff := cmp.Diff(map[Outcome]int{tc.outcome: 3}, res.Outcomes); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			for _, c := range res.Connections {
				if c.Kind != tc.kind {
					t.Errorf("kind %q, want %q", c.Kind, tc.kind)
				}
			}
		})
	}
}
