package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addresses puts floating addresses on interfaces and takes them off.
type addresses struct {
	ns   *netns.NS
	conn *rtnl.Conn
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// put adds the addresses; those that are there already are no failure.
func (a *addresses) put(l *link, addrs []netip.Addr) error {
	reqs := make([]rtnl.Request, len(addrs))
	for i, addr := range addrs {
		reqs[i] = rtnl.PutAddress(l.name, l.index, single(addr))
	}
	return a.conn.Apply(context.Background(), reqs...)
}

// remove takes the addresses off; those that aren't there are no failure. It
// tells how many were there.
func (a *addresses) remove(l *link, addrs []netip.Addr) (removed int, err error) {
	var errs []error
	for _, addr := range addrs {
		err := a.conn.Apply(context.Background(), rtnl.DeleteAddress(l.name, l.index, single(addr)))
		switch {
		case err == nil:
			removed++
		case !errors.Is(err, unix.EADDRNOTAVAIL):
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// check reads back whether the interface has the addresses, or has none of them.
func (a *addresses) check(l *link, addrs []netip.Addr, want bool) error {
	var have []netlink.Addr
	err := rtnl.Read(a.ns, func(h *netlink.Handle) (err error) {
		have, err = rtnl.Retry(func() ([]netlink.Addr, error) {
			return h.AddrList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: l.index}}, netlink.FAMILY_ALL)
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("read addresses of %s back: %w", l.name, err)
	}
	var errs []error
	for _, addr := range addrs {
		found := slices.ContainsFunc(have, func(h netlink.Addr) bool { return h.IP.Equal(net.IP(addr.AsSlice())) })
		switch {
		case want && !found:
			errs = append(errs, fmt.Errorf("%s was put on %s and is not there", addr, l.name))
		case !want && found:
			errs = append(errs, fmt.Errorf("%s was taken off %s and is still there", addr, l.name))
		}
	}
	return errors.Join(errs...)
}

// announcer sends Ethernet frames on any interface of a namespace.
type announcer struct{ fd int }

// openAnnouncer opens a packet socket in the namespace of the calling thread;
// protocol 0 receives nothing (packet(7)).
func openAnnouncer() (*announcer, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return &announcer{fd: fd}, nil
}

func (a *announcer) close() error { return unix.Close(a.fd) }

// announce tells the link where the addresses are, so often at once, against loss.
func (a *announcer) announce(l *link, addrs []netip.Addr, repeat int) error {
	if len(l.mac) != 6 {
		return nil // nobody resolves addresses there
	}
	for _, addr := range addrs {
		frame := announcement(l.mac, addr)
		for range repeat {
			if err := unix.Sendto(a.fd, frame, unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Ifindex: l.index}); err != nil {
				return fmt.Errorf("announce %s on %s: %w", addr, l.name, err)
			}
		}
	}
	return nil
}
