package director

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Side is one of the two wires.
type Side string

// The wires, by the names of their links.
const (
	ClientWire Side = "clients"
	ServerWire Side = "servers"
)

// Seen is a packet, from its IP header on, that the kernel has put on a wire.
type Seen struct {
	Side Side
	Data []byte
}

// Send hands the kernel a packet as if it came by the wire, whatever is in it.
func (d *Director) Send(side Side, packet []byte) error {
	w, err := d.wire(side)
	if err != nil {
		return err
	}
	return w.send(packet)
}

func (d *Director) wire(side Side) (*wire, error) {
	switch side {
	case ClientWire:
		return d.client, nil
	case ServerWire:
		return d.server, nil
	}
	return nil, fmt.Errorf("find wire %q: there are %s and %s", side, ClientWire, ServerWire)
}

// Drain takes all that is on the wires, clients' first, but for the kernel's own
// chatter. If there is nothing it waits for as long as a kernel may take that
// hands packets to a thread.
func (d *Director) Drain() ([]Seen, error) {
	var out []Seen
	for left := patience; ; {
		for _, side := range []Side{ClientWire, ServerWire} {
			got, err := d.take(side)
			if err != nil {
				return out, err
			}
			out = append(out, got...)
		}
		if len(out) > 0 {
			return out, nil
		}
		if ok, err := wait(&left, d.client, d.server); !ok || err != nil {
			return nil, err
		}
	}
}

func (d *Director) take(side Side) ([]Seen, error) {
	w, err := d.wire(side)
	if err != nil {
		return nil, err
	}
	var out []Seen
	for {
		raw, err := w.receive()
		if raw == nil || err != nil {
			return out, err
		}
		if !chatter(raw) {
			out = append(out, Seen{Side: side, Data: slices.Clone(raw)})
		}
	}
}

// chatter tells whether a packet is of those that a kernel sends at times of its
// own to find groups, routers and neighbours: IGMP (RFC 3376), MLD (RFC 3810),
// neighbour discovery (RFC 4861).
func chatter(raw []byte) bool {
	const igmp, hopByHop, listenerQuery = 2, 0, 130 // ICMPv6's types from there on
	switch {
	case len(raw) >= 20 && raw[0]>>4 == 4:
		return raw[9] == igmp
	case len(raw) >= 48 && raw[0]>>4 == 6:
		protocol, rest := raw[6], raw[40:]
		if protocol == hopByHop {
			protocol, rest = rest[0], rest[min(8*(int(rest[1])+1), len(rest)):]
		}
		return protocol == unix.IPPROTO_ICMPV6 && len(rest) > 0 && rest[0] >= listenerQuery
	}
	return false
}
