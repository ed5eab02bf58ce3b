package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// MaxTimeout is the longest persistence ipvsadm lets one ask for (31 days).
const MaxTimeout = 31 * 24 * time.Hour

// Persistent tells whether clients stick to a real server.
func (s Service) Persistent() bool { return s.Timeout > 0 }

// Bits is the length of an address of the family: 32 or 128.
func (f Family) Bits() uint8 {
	if f == IPv6 {
		return 128
	}
	return 32
}

// Spec is the service in the one form that can be compared: without counters
// and destinations, and with what has no effect set to zero.
func (s Service) Spec() Service {
	s.Addr = s.Addr.Unmap()
	s.Counters, s.Destinations = Counters{}, nil
	if !s.Persistent() || s.MaskBits == s.Family.Bits() {
		s.MaskBits = 0
	}
	if !s.Persistent() {
		s.OddMask = netip.Addr{}
	}
	return s
}

// Spec is the destination in the one form that can be compared: without
// counters, and without a tunnel unless it is reached through one.
func (d Destination) Spec() Destination {
	d.Addr = d.Addr.Unmap()
	d.Counters = Counters{}
	if d.Forward != TUN {
		d.Tunnel = Tunnel{}
	}
	return d
}

// FullSpec is Spec with the destinations, each in its comparable form and in
// the order given.
func (s Service) FullSpec() Service {
	out := s.Spec()
	for _, d := range s.Destinations {
		out.Destinations = append(out.Destinations, d.Spec())
	}
	return out
}

// sameSpec compares the services but not their destinations.
func sameSpec(a, b Service) bool {
	a, b = a.Spec(), b.Spec()
	return a.Key == b.Key && a.Scheduler == b.Scheduler && a.Flags == b.Flags &&
		a.Timeout == b.Timeout && a.MaskBits == b.MaskBits && a.OddMask == b.OddMask && a.Engine == b.Engine
}

// Validate reports everything about a service that the kernel would refuse,
// or accept and then not do.
func (s Service) Validate() error {
	errs := []error{s.Key.Validate()}
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.Scheduler == "" {
		add("scheduler is missing; rr is the plainest")
	}
	if s.FWMark == 0 && s.Port == 0 && !s.Persistent() {
		add("port 0 stands for every port and needs persistence: set a timeout")
	}
	if s.Timeout < 0 || s.Timeout > MaxTimeout || s.Timeout%time.Second != 0 {
		add("persistence of %v: want whole seconds, at most %v", s.Timeout, MaxTimeout)
	}
	if s.MaskBits > s.Family.Bits() {
		add("persistence mask of %d bits: at most %d", s.MaskBits, s.Family.Bits())
	}
	if s.OddMask.IsValid() && (s.MaskBits != 0 || s.Family != IPv4 || !s.OddMask.Is4()) {
		add("persistence mask %s: want an IPv4 one for an IPv4 service, and no length beside it", s.OddMask)
	}
	if s.Flags&OnePacket != 0 && s.FWMark == 0 && s.Protocol != UDP {
		add("one-packet scheduling is for UDP")
	}
	seen := make(map[DestKey]bool, len(s.Destinations))
	for _, d := range s.Destinations {
		if seen[d.DestKey] {
			add("destination %s is given twice", d.DestKey)
		}
		seen[d.DestKey] = true
		if err := d.Validate(s.Family); err != nil {
			add("destination %s: %w", d.DestKey, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("service %s: %w", s.Key, err)
	}
	return nil
}

// Validate reports a key that names no service.
func (k Key) Validate() error {
	switch {
	case k.Family != IPv4 && k.Family != IPv6:
		return errors.New("family is missing")
	case k.FWMark != 0:
		if k.Protocol != 0 || k.Port != 0 || k.Addr.IsValid() {
			return errors.New("a firewall mark excludes protocol, address and port")
		}
	case !k.Addr.IsValid() || FamilyOf(k.Addr) != k.Family:
		return errors.New("address is missing or not of the key's family")
	case k.Addr.Zone() != "" || k.Addr.Is4In6():
		return fmt.Errorf("address %s has a zone or is an IPv4-mapped one", k.Addr)
	case k.Protocol != TCP && k.Protocol != UDP && k.Protocol != SCTP:
		return fmt.Errorf("protocol %s is not balanced by IPVS: tcp, udp or sctp", k.Protocol)
	}
	return nil
}

// Validate reports what the kernel refuses in a destination of a service of
// the given family (ip_vs_genl_set_cmd, ip_vs_add_dest).
func (d Destination) Validate(service Family) error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !unicast(d.Addr) {
		add("address is missing or not a unicast one")
	} else if FamilyOf(d.Addr) != service && d.Forward != TUN {
		add("an address of another family than the service's can only be reached by tunnel")
	}
	if d.Weight < 0 {
		add("weight %d is negative", d.Weight)
	}
	if d.Lower > d.Upper {
		add("lower threshold %d is above the upper one, %d", d.Lower, d.Upper)
	}
	if d.Forward > DR {
		add("%s is no forwarding method", d.Forward)
	}
	if d.Forward == TUN && d.Tunnel.Type == GUE && d.Tunnel.Port == 0 {
		add("a GUE tunnel needs a port")
	}
	return errors.Join(errs...)
}

func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsMulticast() && !a.IsUnspecified() && a.Zone() == ""
}
