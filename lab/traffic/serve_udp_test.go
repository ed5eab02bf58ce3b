package traffic

import (
	"net/netip"
	"testing"
	"time"
)

// The client is connected and takes answers only from the address it asked;
// of its own accord the kernel would answer from 127.0.0.1.
func TestUDPAnswersFromTheAddressAsked(t *testing.T) {
	h := startHost(t, nil, ResponderSpec{Node: "rs1", Protocol: UDP, Port: 20053})
	res, err := Run(t.Context(), nil, Spec{Protocol: UDP, To: at("127.0.0.2", 20053), Connections: 3, Timeout: 30 * time.Second})
	must(t, err)
	if res.Identities["rs1"] != 3 {
		t.Errorf("got %v, %v; want 3 answers", res.Identities, res.Errors)
	}
	for _, a := range h.Accepted(0).Entries {
		if a.Local != at("127.0.0.2", 20053) || a.Remote.Addr().String() != "127.0.0.1" {
			t.Errorf("accepted at %s from %s", a.Local, a.Remote)
		}
	}
}

// A director that has the entry of an earlier datagram takes one from the same
// port for its next.
func TestUDPPortsDoNotComeBack(t *testing.T) {
	p := newPair(t)
	startHost(t, p.server, allResponders("rs1")...)
	const visits = 400 // ports by chance: 94 % of such runs have one twice
	for name, spec := range map[string]Spec{
		"IPv4":          {To: at(serverV4, 53)},
		"IPv6":          {To: at(serverV6, 53)},
		"from a source": {To: at(serverV4, 53), Sources: []netip.AddrPort{at("10.9.0.1", 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			spec.Protocol, spec.Connections, spec.Concurrency = UDP, visits, 4
			res, err := Run(t.Context(), p.client, spec)
			must(t, err)
			ports := map[uint16]bool{}
			for _, c := range res.Connections {
				ports[c.Source.Port()] = true
			}
			if len(ports) != visits || res.Identities["rs1"] != visits {
				t.Errorf("%d visits from %d ports, %v answered: %v", visits, len(ports), res.Identities, res.Errors)
			}
		})
	}
}
