package rtnl

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/poll"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// WaitLocalIPv6 waits until the addresses are in effect in the namespace. The
// kernel adds an address at once, but leaves it to a worker to join its group
// for neighbour discovery and then to route it to the host itself, even without
// duplicate address detection (net/ipv6/addrconf.c, addrconf_dad_begin). On a
// busy machine that takes seconds, in which nothing reaches the address.
// It fails when the context does, naming what is missing.
func WaitLocalIPv6(ctx context.Context, ns *netns.NS, addrs ...netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	return Read(ns, func(h *netlink.Handle) error {
		pace := poll.Start()
		for {
			have, err := localIPv6(h)
			if err != nil {
				return err
			}
			for len(addrs) > 0 && have[addrs[0]] {
				addrs = addrs[1:]
			}
			if len(addrs) == 0 {
				return nil
			}
			select {
			case <-pace.Again():
			case <-ctx.Done():
				return fmt.Errorf("wait for address %s to be in effect: %w", addrs[0], context.Cause(ctx))
			}
		}
	})
}

// localIPv6 lists the addresses that are routed to the namespace itself.
func localIPv6(h *netlink.Handle) (map[netip.Addr]bool, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
	routes, err := Retry(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_V6, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	})
	if err != nil {
		return nil, fmt.Errorf("list local IPv6 routes: %w", err)
	}
	local := make(map[netip.Addr]bool, len(routes))
	for _, r := range routes {
		if addr, ok := netip.AddrFromSlice(r.Dst.IP); ok && isHost(r) {
			local[addr] = true
		}
	}
	return local, nil
}

func isHost(r netlink.Route) bool {
	ones, bits := r.Dst.Mask.Size()
	return ones == bits
}
