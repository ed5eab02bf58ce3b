package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
)

// RouteTo asks the node's kernel which way a packet to an address goes, as `ip
// route get` does.
func (n *Node) RouteTo(to netip.Addr) (route topology.Route, err error) {
	err = n.links(func(h *netlink.Handle) error {
		found, err := rtnl.Retry(func() ([]netlink.Route, error) { return h.RouteGet(to.AsSlice()) })
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errors.New("the kernel names no route")
		}
		route.To = netip.PrefixFrom(to, to.BitLen())
		route.Via, _ = netip.AddrFromSlice(found[0].Gw)
		route.Source, _ = netip.AddrFromSlice(found[0].Src)
		route.Via, route.Source = route.Via.Unmap(), route.Source.Unmap()
		link, err := h.LinkByIndex(found[0].LinkIndex)
		if err == nil {
			route.Device = link.Attrs().Name
		}
		return err
	})
	if err != nil {
		return topology.Route{}, fmt.Errorf("node %s: route to %s: %w", n.Name(), to, err)
	}
	return route, nil
}

// ReplaceRoute sets the route to a prefix through a gateway, in the place of
// the one there is, as `ip route replace` does, and reads it back.
func (n *Node) ReplaceRoute(to netip.Prefix, via netip.Addr) error {
	err := n.links(func(h *netlink.Handle) error {
		dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
		want := netlink.Route{Dst: dst, Gw: via.AsSlice()}
		if err := h.RouteReplace(&want); err != nil {
			return err
		}
		family := netlink.FAMILY_V4
		if to.Addr().Is6() {
			family = netlink.FAMILY_V6
		}
		routes, err := rtnl.Retry(func() ([]netlink.Route, error) { return h.RouteList(nil, family) })
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.String() == dst.String() && r.Gw.Equal(want.Gw) {
				return nil
			}
		}
		return errors.New("the kernel took it, but does not have it")
	})
	if err != nil {
		return fmt.Errorf("node %s: route %s via %s: %w", n.Name(), to, via, err)
	}
	return nil
}

// links runs fn with a route socket in the node.
func (n *Node) links(fn func(*netlink.Handle) error) error {
	ns, err := netns.Open(n.Namespace())
	if err != nil {
		return err
	}
	defer ns.Close()
	return rtnl.Read(ns, fn)
}
