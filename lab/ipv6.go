package lab

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
)

// awaitIPv6 waits until the nodes' IPv6 addresses are in effect, which is
// later than they are added; see [rtnl.WaitLocalIPv6].
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
		err = rtnl.WaitLocalIPv6(ctx, ns, want...)
		ns.Close()
		if err != nil {
			return fmt.Errorf("node %s: %w; is the machine busy?", node.Name, err)
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
