// Package director is an IPVS director alone in a scratch network namespace,
// with a wire on either side that ends in this process: packets of any client
// are written and those for any real server read by hand. No client, no real
// server and no timer of theirs comes in between, so what the kernel does with
// one packet is seen at once and can be compared, one by one, with a model.
//
// The wires are TUN devices (Documentation/networking/tuntap.rst). The
// namespace has no other link; nothing leaves it. It ends when the Director is
// closed or the process dies.
//
// The package writes no IPVS table: that is for the caller to do, at
// [Director.Path]. It must not import lb/oracle, lab or topology.
package director

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/netns"
)

// The namespace's addresses. Clients may have any address that is not of
// VIPs or Servers; each answer to them leaves by the client wire.
var (
	VIPs    = netip.MustParsePrefix("10.99.0.0/24")
	VIPs6   = netip.MustParsePrefix("fd99::/64")
	Servers = netip.MustParsePrefix("10.98.0.0/16")
	// Servers6 are the real servers' addresses in IPv6.
	Servers6 = netip.MustParsePrefix("fd98::/64")
)

// settings make the director forward, believe any source address, and answer
// each refusal with an ICMP message, however many there are.
var settings = [][2]string{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/icmp_ratemask", "0"},
	{"net/ipv6/icmp/ratemask", "127"}, // limit nothing but a type that nobody sends
}

// Director is a scratch namespace with its wires. It is not safe for
// concurrent use.
type Director struct {
	ns             *netns.NS
	client, server *wire
}

var serial atomic.Int64

// Open makes the namespace and its wires. It needs CAP_NET_ADMIN and
// CAP_SYS_ADMIN, and the tun driver.
func Open() (_ *Director, err error) {
	name := fmt.Sprintf("ipvslab-director-%d-%d", os.Getpid(), serial.Add(1))
	if err := netns.Create(name); err != nil {
		return nil, err
	}
	ns, err := netns.Open(name)
	// The open file keeps the namespace; nobody else has to find it.
	if err = errors.Join(err, netns.Delete(name)); err != nil {
		return nil, err
	}
	d := &Director{ns: ns}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
			d = nil
		}
	}()
	if err = d.set(settings); err != nil {
		return d, err
	}
	if d.client, err = openWire(ns, "clients"); err != nil {
		return d, err
	}
	if d.server, err = openWire(ns, "servers"); err != nil {
		return d, err
	}
	return d, d.plumb()
}

// plumb gives the links their addresses and routes.
func (d *Director) plumb() error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(d.ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route netlink: %w", err)
	}
	defer h.Close()
	index := map[string]int{}
	for _, name := range []string{"lo", "clients", "servers"} {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("set link %s up: %w", name, err)
		}
		index[name] = link.Attrs().Index
	}
	for _, r := range []struct {
		link   string
		to     string
		kind   int
		family int
	}{
		{"lo", VIPs.String(), unix.RTN_LOCAL, unix.AF_INET},
		{"lo", VIPs6.String(), unix.RTN_LOCAL, unix.AF_INET6},
		{"servers", Servers.String(), unix.RTN_UNICAST, unix.AF_INET},
		{"servers", Servers6.String(), unix.RTN_UNICAST, unix.AF_INET6},
		{"clients", "0.0.0.0/0", unix.RTN_UNICAST, unix.AF_INET},
		{"clients", "::/0", unix.RTN_UNICAST, unix.AF_INET6},
	} {
		dst, err := netlink.ParseIPNet(r.to)
		if err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: index[r.link], Dst: dst, Type: r.kind, Family: r.family, Scope: netlink.SCOPE_LINK}
		if r.kind == unix.RTN_LOCAL {
			route.Table, route.Scope = unix.RT_TABLE_LOCAL, netlink.SCOPE_HOST
		}
		if err := h.RouteAdd(route); err != nil {
			return fmt.Errorf("add route to %s by %s: %w", r.to, r.link, err)
		}
	}
	return nil
}

// Serve makes an address one of the director's own: packets to it are taken in.
// Those of VIPs and VIPs6 are from the beginning.
func (d *Director) Serve(vip netip.Addr) error {
	if VIPs.Contains(vip) || VIPs6.Contains(vip) {
		return nil
	}
	return d.route(vip, "lo", unix.RTN_LOCAL)
}

// Reach makes an address one of those behind the server wire. Those of Servers
// and Servers6 are from the beginning.
func (d *Director) Reach(server netip.Addr) error {
	if Servers.Contains(server) || Servers6.Contains(server) {
		return nil
	}
	return d.route(server, "servers", unix.RTN_UNICAST)
}

// route adds a host route, unless it is there.
func (d *Director) route(to netip.Addr, link string, kind int) error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(d.ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route netlink: %w", err)
	}
	defer h.Close()
	l, err := h.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	family := unix.AF_INET
	if to.Is6() {
		family = unix.AF_INET6
	}
	dst := &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(to.BitLen(), to.BitLen())}
	route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Type: kind, Family: family, Scope: netlink.SCOPE_LINK}
	if kind == unix.RTN_LOCAL {
		route.Table, route.Scope = unix.RT_TABLE_LOCAL, netlink.SCOPE_HOST
	}
	if err := h.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add route to %v by %s: %w", to, link, err)
	}
	return nil
}

// Path names the namespace's file for as long as the Director is open.
func (d *Director) Path() string { return fmt.Sprintf("/proc/self/fd/%d", d.ns.FD()) }

// Set writes one kernel setting of the namespace, in sysctl's dotted form, and
// reads it back.
func (d *Director) Set(key, value string) error {
	return d.set([][2]string{{strings.ReplaceAll(key, ".", "/"), value}})
}

func (d *Director) set(pairs [][2]string) error {
	return d.ns.Do(func() error {
		for _, kv := range pairs {
			path := filepath.Join("/proc/sys", kv[0])
			if err := os.WriteFile(path, []byte(kv[1]), 0); err != nil {
				return fmt.Errorf("set %s: %w", kv[0], err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("read back %s: %w", kv[0], err)
			}
			if s := strings.TrimSpace(string(got)); s != kv[1] {
				return fmt.Errorf("set %s to %s: the kernel made it %s", kv[0], kv[1], s)
			}
		}
		return nil
	})
}

// Do runs fn with its thread in the namespace.
func (d *Director) Do(fn func() error) error { return d.ns.Do(fn) }

// ReadFile reads a file of /proc as a thread in the namespace sees it.
func (d *Director) ReadFile(path string) (content []byte, err error) {
	err = d.ns.Do(func() error {
		// /proc/net is a link to self/net: the main thread's.
		if rest, ok := strings.CutPrefix(path, "/proc/net/"); ok {
			path = "/proc/thread-self/net/" + rest
		}
		content, err = os.ReadFile(path)
		return err
	})
	return content, err
}

// Close cuts the wires and lets go of the namespace.
func (d *Director) Close() error {
	var errs []error
	for _, w := range []*wire{d.client, d.server} {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	return errors.Join(append(errs, d.ns.Close())...)
}
