package lab

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/topology"
)

// awaitIPv6 waits until the nodes' IPv6 addresses are in effect. The kernel
// adds an address at once, but leaves it to a worker to join its group for
// neighbour discovery and then to route it to the node itself, even without
// duplicate address detection (net/ipv6/addrconf.c, addrconf_dad_begin). On a
// busy machine that takes seconds, in which nothing reaches the address.
func (b *builder) awaitIPv6(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	for i := range b.plan.Nodes {
		node := &b.plan.Nodes[i]
		want := b.ownIPv6(node)
		if len(want) == 0 {
			continue
		}
		ns, err := netns.Open(nsName(b.plan.Name, node.Name))
		if err != nil {
			return err
		}
		err = awaitLocal(ctx, ns, want)
		ns.Close()
		if err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
	}
	return nil
}

// ownIPv6 lists the addresses that a node begins with, but for those of links
// that are down, which have no route.
func (b *builder) ownIPv6(n *topology.Node) []netip.Addr {
	var own []netip.Addr
	for _, itf := range n.Interfaces {
		for _, a := range itf.Addresses {
			if addr := a.Prefix.Addr(); addr.Is6() && !itf.Down && !b.plan.Floats(n.Name, itf.Name, addr) {
				own = append(own, addr)
			}
		}
	}
	return own
}

func awaitLocal(ctx context.Context, ns *netns.NS, want []netip.Addr) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		var have map[netip.Addr]bool
		if err := ns.Do(func() (err error) { have, err = localIPv6(); return err }); err != nil {
			return err
		}
		for len(want) > 0 && have[want[0]] {
			want = want[1:]
		}
		if len(want) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for address %s to be in effect: %w; is the machine busy?", want[0], context.Cause(ctx))
		}
	}
}

// rtfLocal marks a route to an address of this host (RTF_LOCAL in linux/ipv6_route.h).
const rtfLocal = 0x80000000

// localIPv6 reads which addresses are routed to this namespace itself.
func localIPv6() (map[netip.Addr]bool, error) {
	text, err := os.ReadFile("/proc/thread-self/net/ipv6_route")
	if err != nil {
		return nil, fmt.Errorf("read IPv6 routes: %w", err)
	}
	local := map[netip.Addr]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // address, prefix length, ..., flags, interface
		if len(f) < 10 || f[1] != "80" {
			continue
		}
		raw, err := hex.DecodeString(f[0])
		addr, ok := netip.AddrFromSlice(raw)
		flags, flagErr := strconv.ParseUint(f[8], 16, 32)
		if err == nil && flagErr == nil && ok && flags&rtfLocal != 0 {
			local[addr] = true
		}
	}
	return local, nil
}
