package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is an interface that advertisements go by.
type link struct {
	name  string
	index int
	mac   net.HardwareAddr
	up    bool
}

// findLinks reads the named links of the namespace.
func findLinks(ns *netns.NS, names []string) (map[string]*link, error) {
	links, err := rtnl.Links(ns)
	if err != nil {
		return nil, err
	}
	found := map[string]*link{}
	for _, l := range links {
		a := l.Attrs()
		found[a.Name] = &link{name: a.Name, index: a.Index, mac: a.HardwareAddr, up: running(a.RawFlags)}
	}
	out := map[string]*link{}
	for _, name := range names {
		if found[name] == nil {
			return nil, fmt.Errorf("there is no interface %s in this namespace", name)
		}
		out[name] = found[name]
	}
	return out, nil
}

// running tells whether a link carries packets: it is up, and so is what it is plugged into.
func running(flags uint32) bool {
	const want = unix.IFF_UP | unix.IFF_LOWER_UP
	return flags&want == want
}

// linkLocalWithin bounds the wait for a link-local address: the kernel gives it
// to an interface from a work queue, after the link has come up.
const linkLocalWithin = 5 * time.Second

// awaitLinkLocal is linkLocal for an interface that may just have come up.
func awaitLinkLocal(ns *netns.NS, index int) (_ netip.Addr, err error) {
	var changes *monitor
	err = ns.Do(func() (err error) {
		changes, err = openMonitor(unix.RTMGRP_IPV6_IFADDR)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { err = errors.Join(err, changes.close()) }()
	for deadline := time.Now().Add(linkLocalWithin); ; {
		addr, err := linkLocal(ns, index)
		left := time.Until(deadline)
		if err == nil || left <= 0 {
			return addr, err
		}
		if err := changes.await(left); err != nil {
			return addr, err
		}
	}
}

// linkLocal is the interface's link-local address, from which IPv6
// advertisements come (RFC 9568, section 5.1.2.1).
func linkLocal(ns *netns.NS, index int) (netip.Addr, error) {
	var addrs []netlink.Addr
	err := rtnl.Read(ns, func(h *netlink.Handle) (err error) {
		addrs, err = rtnl.Retry(func() ([]netlink.Addr, error) {
			return h.AddrList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}, unix.AF_INET6)
		})
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("the interface has no IPv6 link-local address, from which advertisements must come")
}

// monitor is a netlink socket that hears of changes of links or addresses (rtnetlink(7)).
type monitor struct {
	fd  int
	buf []byte
}

// openMonitor opens one in the namespace of the calling thread, for some of the
// RTMGRP_ groups.
func openMonitor(groups uint32) (*monitor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open monitor of links: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind monitor of links: %w", err), unix.Close(fd))
	}
	return &monitor{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (m *monitor) close() error { return unix.Close(m.fd) }

// await waits until something changes, or the time is over, and reads what there is.
func (m *monitor) await(d time.Duration) error {
	poll := []unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(poll, int(d.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for a change: %w", err)
	}
	m.drain()
	return nil
}

// drain reads what there is: per interface index, whether it carries packets
// now. Lost: more changed than the socket could hold.
func (m *monitor) drain() (changes map[int]bool, lost bool) {
	changes = map[int]bool{}
	for {
		n, _, err := unix.Recvfrom(m.fd, m.buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.ENOBUFS) {
			return changes, true
		}
		if err != nil {
			return changes, false
		}
		messages, err := syscall.ParseNetlinkMessage(m.buf[:n])
		if err != nil {
			return changes, true
		}
		for _, msg := range messages {
			if len(msg.Data) < unix.SizeofIfInfomsg {
				continue
			}
			info := (*unix.IfInfomsg)(unsafe.Pointer(&msg.Data[0]))
			switch msg.Header.Type {
			case unix.RTM_NEWLINK:
				changes[int(info.Index)] = running(info.Flags)
			case unix.RTM_DELLINK:
				changes[int(info.Index)] = false
			}
		}
	}
}
