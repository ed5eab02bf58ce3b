package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"
)

// mobyTable is moby's handle with what it needs to be used safely: the caller
// holds the Table's mutex, and a call that outlives its context is ended by
// closing the handle, since moby would wait for ever.
type mobyTable struct {
	ns     *netns.NS
	family int          // IPVS's, of generic netlink
	handle *ipvs.Handle // nil: opened at the next call
}

// The first time that a process opens a handle moby runs modprobe(8) and looks
// the family up; that costs 45 ms in user-mode Linux, and a word in the log where there is
// no modprobe. Here the kernel has been asked by then (dial), and has loaded its
// module if it had to: so moby is given the number, and skips that. If its names
// change it does as it did.
//
//go:linkname mobyOnce github.com/moby/ipvs.ipvsOnce
var mobyOnce sync.Once

//go:linkname mobyFamily github.com/moby/ipvs.ipvsFamily
var mobyFamily int

// open makes a handle in the namespace.
func (m *mobyTable) open() error {
	mobyOnce.Do(func() { mobyFamily = m.family })
	err := m.ns.Do(func() (err error) {
		m.handle, err = ipvs.New("")
		return err
	})
	if err != nil {
		return fmt.Errorf("open IPVS handle: %w", err)
	}
	return nil
}

// do runs one of the handle's methods, at most as long as ctx lasts.
func (m *mobyTable) do(ctx context.Context, call func(*ipvs.Handle) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.handle == nil {
		if err := m.open(); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, m.handle.Close)
	err := call(m.handle)
	if !stop() {
		m.handle = nil // closed, or about to be
		var answer unix.Errno
		if err != nil && !errors.As(err, &answer) {
			return fmt.Errorf("%w: %w", lb.ErrUnknown, ctx.Err())
		}
	}
	return err
}

func (m *mobyTable) close() {
	if m.handle != nil {
		m.handle.Close()
		m.handle = nil
	}
}

// change makes those changes for which moby has all that is needed.
func (m *mobyTable) change(ctx context.Context, c lb.Change) error {
	service := mobyService(c.Service)
	return m.do(ctx, func(h *ipvs.Handle) error {
		switch c.Op {
		case lb.AddService:
			return h.NewService(service)
		case lb.EditService:
			return h.UpdateService(service)
		case lb.DeleteService:
			return h.DelService(service)
		case lb.Flush:
			return h.Flush()
		}
		return errors.New("unknown operation")
	})
}

func (m *mobyTable) timeouts(ctx context.Context) (lb.Timeouts, error) {
	var got *ipvs.Config
	err := m.do(ctx, func(h *ipvs.Handle) (err error) {
		got, err = h.GetConfig()
		return err
	})
	if err != nil {
		return lb.Timeouts{}, err
	}
	return lb.Timeouts{TCP: got.TimeoutTCP, TCPFin: got.TimeoutTCPFin, UDP: got.TimeoutUDP}, nil
}

func (m *mobyTable) setTimeouts(ctx context.Context, t lb.Timeouts) error {
	return m.do(ctx, func(h *ipvs.Handle) error {
		return h.SetConfig(&ipvs.Config{TimeoutTCP: t.TCP, TimeoutTCPFin: t.TCPFin, TimeoutUDP: t.UDP})
	})
}

func mobyService(s lb.Service) *ipvs.Service {
	out := &ipvs.Service{
		AddressFamily: addressFamily(s.Family),
		Protocol:      uint16(s.Protocol),
		Port:          s.Port,
		FWMark:        s.FWMark,
		SchedName:     s.Scheduler,
		PEName:        s.Engine,
		Flags:         uint32(s.Flags),
		Timeout:       uint32(s.Timeout / time.Second),
		Netmask:       netmask(s),
	}
	if s.Addr.IsValid() {
		out.Address = s.Addr.AsSlice()
	}
	if s.Persistent() {
		out.Flags |= flagPersistent
	}
	return out
}

// netmask is what the kernel wants: for IPv4 the mask itself in network order,
// for IPv6 its length, also when nothing is persistent (ip_vs_add_service).
func netmask(s lb.Service) uint32 {
	switch {
	case s.Family != lb.IPv6:
		b := s.Mask4().As4()
		return binary.NativeEndian.Uint32(b[:])
	case s.MaskBits == 0:
		return uint32(s.Family.Bits())
	}
	return uint32(s.MaskBits)
}
