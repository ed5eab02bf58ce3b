package director

import (
	"fmt"
	"slices"
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

// Drain takes all that is on the wires, clients' first. If there is nothing it
// waits for as long as a kernel may take that hands packets to a thread.
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
		out = append(out, Seen{Side: side, Data: slices.Clone(raw)})
	}
}
