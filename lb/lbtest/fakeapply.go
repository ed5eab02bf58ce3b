package lbtest

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// Apply implements lb.Table.
func (f *Fake) Apply(ctx context.Context, changes ...lb.Change) error {
	unlock, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for i, c := range changes {
		f.writes++
		if err := f.apply(c); err != nil {
			errs = append(errs, &lb.ChangeError{Index: i, Change: c, Err: err})
		}
	}
	return errors.Join(errs...)
}

func (f *Fake) apply(c lb.Change) error {
	if f.Refuse != nil {
		if err := f.Refuse(c); err != nil {
			return err
		}
	}
	if f.Ignore != nil && f.Ignore(c) {
		return nil
	}
	switch c.Op {
	case lb.AddService:
		return f.addService(c.Service)
	case lb.EditService:
		return f.editService(c.Service)
	case lb.DeleteService:
		if _, err := f.service(c.Service.Key); err != nil {
			return err
		}
		f.services = slices.DeleteFunc(f.services, func(s lb.Service) bool { return s.Key == c.Service.Key })
		return nil
	case lb.AddDestination, lb.EditDestination, lb.DeleteDestination:
		return f.applyDestination(c.Op, c.Service.Key, c.Destination.Spec())
	case lb.Flush:
		f.services = nil
		return nil
	}
	return errors.New("unknown operation")
}

func (f *Fake) addService(s lb.Service) error {
	if _, err := f.service(s.Key); err == nil {
		return lb.ErrServiceExists
	}
	if err := f.checkService(s); err != nil {
		return err
	}
	f.services = append(f.services, s.Spec())
	return nil
}

func (f *Fake) editService(s lb.Service) error {
	old, err := f.service(s.Key)
	if err != nil {
		return err
	}
	if err := f.checkService(s); err != nil {
		return err
	}
	destinations, counters := old.Destinations, old.Counters
	*old = s.Spec()
	old.Destinations, old.Counters = destinations, counters
	return nil
}

func (f *Fake) checkService(s lb.Service) error {
	known := f.Schedulers
	if known == nil {
		known = Schedulers
	}
	if !slices.Contains(known, s.Scheduler) || s.Engine != "" && s.Engine != "sip" {
		return lb.ErrNoScheduler
	}
	if s.Family == lb.IPv6 && s.MaskBits > 128 {
		return lb.ErrInvalid
	}
	return nil
}

func (f *Fake) applyDestination(op lb.Op, k lb.Key, d lb.Destination) error {
	s, err := f.service(k)
	if err != nil {
		return err
	}
	// The order of the checks is the kernel's (ip_vs_genl_set_cmd, ip_vs_add_dest).
	if op != lb.DeleteDestination {
		if err := f.checkDestination(s.Family, d); err != nil {
			return err
		}
	}
	old, err := f.destination(k, d.DestKey)
	switch {
	case op == lb.AddDestination && err == nil:
		return lb.ErrDestinationExists
	case op == lb.AddDestination && !unicast(d.Addr):
		return lb.ErrInvalid
	case op == lb.AddDestination:
		s.Destinations = append(s.Destinations, d)
	case err != nil:
		return err
	case op == lb.EditDestination:
		d.Counters = old.Counters
		*old = d
	default:
		s.Destinations = slices.DeleteFunc(s.Destinations, func(have lb.Destination) bool { return have.DestKey == d.DestKey })
	}
	return nil
}

// unicast is what ip_vs_new_dest asks of an address that is not the director's own.
func unicast(a netip.Addr) bool {
	limited := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return a.IsValid() && !a.IsMulticast() && !a.IsUnspecified() && a != limited && !(a.Is6() && a.IsLinkLocalUnicast())
}

func (f *Fake) checkDestination(service lb.Family, d lb.Destination) error {
	if lb.FamilyOf(d.Addr) != service && (d.Forward != lb.TUN || len(f.daemons) > 0) {
		return lb.ErrInvalid
	}
	if d.Weight < 0 || d.Lower > d.Upper {
		return lb.ErrRange
	}
	if d.Forward == lb.TUN && d.Tunnel.Type == lb.GUE && d.Tunnel.Port == 0 {
		return lb.ErrInvalid
	}
	return nil
}

// service gives the table's own copy.
func (f *Fake) service(k lb.Key) (*lb.Service, error) {
	for i := range f.services {
		if f.services[i].Key == k {
			return &f.services[i], nil
		}
	}
	return nil, lb.ErrNoService
}

func (f *Fake) destination(k lb.Key, d lb.DestKey) (*lb.Destination, error) {
	s, err := f.service(k)
	if err != nil {
		return nil, err
	}
	for i := range s.Destinations {
		if s.Destinations[i].DestKey == d {
			return &s.Destinations[i], nil
		}
	}
	return nil, lb.ErrNoDestination
}
