package lbtest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// Daemons implements lb.Table.
func (f *Fake) Daemons(ctx context.Context) ([]lb.SyncDaemon, error) {
	unlock, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := slices.Clone(f.daemons)
	slices.SortFunc(out, func(a, b lb.SyncDaemon) int { return int(a.Role) - int(b.Role) })
	return out, nil
}

// StartDaemon implements lb.Table, with the kernel's defaults for an interface
// whose MTU is 1500. Every interface exists but one called "missing".
func (f *Fake) StartDaemon(ctx context.Context, d lb.SyncDaemon) error {
	unlock, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	err = f.checkDaemon(d)
	if err != nil {
		return fmt.Errorf("start sync daemon, %s on %s: %w", d.Role, d.Interface, err)
	}
	if d.MaxLen == 0 {
		d.MaxLen = 1472 // 1500 less the headers of IPv4 and UDP
	}
	if d.Role == lb.SyncBackup {
		d.MaxLen = max(d.MaxLen, 1024)
	}
	if !d.Group.IsValid() {
		d.Group = netip.AddrFrom4([4]byte{224, 0, 0, 81})
	}
	if d.Port == 0 {
		d.Port = 8848
	}
	if d.TTL == 0 {
		d.TTL = 1
	}
	f.daemons = append(f.daemons, d)
	return nil
}

func (f *Fake) checkDaemon(d lb.SyncDaemon) error {
	if d.Interface == "missing" {
		return fmt.Errorf("no interface %q in this namespace", d.Interface)
	}
	for _, s := range f.services {
		for _, dest := range s.Destinations {
			if lb.FamilyOf(dest.Addr) != s.Family {
				return lb.ErrInvalid // mixed families and synchronisation exclude each other
			}
		}
	}
	for _, have := range f.daemons {
		if have.Role == d.Role {
			return lb.ErrDaemonRunning
		}
	}
	return nil
}

// StopDaemon implements lb.Table.
func (f *Fake) StopDaemon(ctx context.Context, r lb.SyncRole) error {
	unlock, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	before := len(f.daemons)
	f.daemons = slices.DeleteFunc(f.daemons, func(d lb.SyncDaemon) bool { return d.Role == r })
	if len(f.daemons) == before {
		return fmt.Errorf("stop sync daemon, %s: %w", r, lb.ErrNoDaemon)
	}
	return nil
}
