package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// Prober is a fresh Director with a TCP service, for the experiment that
// tells kernels apart; it is an oracle.Prober.
type Prober struct {
	ctx      context.Context
	director *Director
	table    lb.Table
	key      lb.Key
	opened   uint16
}

// NewProber opens a Director and has open open the table of the namespace at a
// path, as lb/ipvs does. The context bounds all that the Prober will do.
func NewProber(ctx context.Context, open func(path string) (lb.Table, error)) (p *Prober, err error) {
	p = &Prober{ctx: ctx, key: lb.AddrKey(lb.TCP, VIPs.Addr().Next(), 80)}
	if p.director, err = Open(); err != nil {
		return nil, err
	}
	if p.table, err = open(p.director.Path()); err != nil {
		return nil, errors.Join(err, p.director.Close())
	}
	service := lb.Service{Key: p.key, Scheduler: "wlc"}
	if err := p.table.Apply(ctx, lb.Change{Op: lb.AddService, Service: service}); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Dests are two real servers that nobody runs.
func (p *Prober) Dests() [2]lb.DestKey {
	first := Servers.Addr().Next()
	return [2]lb.DestKey{{Addr: first, Port: 80}, {Addr: first.Next(), Port: 80}}
}

// Set adds or edits a destination.
func (p *Prober) Set(d lb.Destination) error {
	have, err := p.table.Destinations(p.ctx, p.key)
	if err != nil {
		return err
	}
	op := lb.AddDestination
	if slices.ContainsFunc(have, func(o lb.Destination) bool { return o.DestKey == d.DestKey }) {
		op = lb.EditDestination
	}
	return p.table.Apply(p.ctx, lb.DestChange(op, p.key, d))
}

// Open sends the first packet of a new connection.
func (p *Prober) Open() (lb.DestKey, bool, error) {
	p.opened++
	fate, to, err := p.director.Offer(p.packet(SYN))
	if fate == Lost && err == nil {
		err = fmt.Errorf("open connection %d: nothing came of the packet", p.opened)
	}
	return to, fate == Forwarded, err
}

// Finish ends the connection opened last, which is half open: a FIN takes it
// to TIME_WAIT at once.
func (p *Prober) Finish() error {
	fate, _, err := p.director.Offer(p.packet(FIN | ACK))
	if fate != Forwarded && err == nil {
		err = fmt.Errorf("finish connection %d: the packet was %s", p.opened, fate)
	}
	return err
}

func (p *Prober) packet(f Flags) Packet {
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 1024+p.opened)
	return Packet{Protocol: lb.TCP, Src: client, Dst: netip.AddrPortFrom(p.key.Addr, p.key.Port), Flags: f}
}

// Close ends the scratch namespace.
func (p *Prober) Close() error { return errors.Join(p.table.Close(), p.director.Close()) }
