package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
)

// cable is a veth that leads from a node to a bridge.
type cable struct{ port, node rtnl.End }

// pairEnd is one end of a veth that joins two nodes.
type pairEnd struct {
	node *topology.Node
	end  rtnl.End
	down bool
}

// firstIndex is the index of a node's first own interface and of the first
// bridge. Below it are lo and the devices that tunnel modules put into every
// namespace (nine as of Linux 6.12).
const firstIndex = 16

// The two ends of a cable must have different indices: else the kernel holds
// them for the same device and takes up to a second to notice that a cable works
// (net/core/link_watch.c: linkwatch_urgent_event). So bridges' ports and trunks count
// from firstPort, and the second end of a cable between nodes is shifted.
const (
	firstPort = 1000
	pairShift = 500
)

// planCables lays out bridges and cables: their names and indices.
func (b *builder) planCables() error {
	b.cables, b.paired = map[string]cable{}, map[string][]pairEnd{}
	var port int
	b.bridges, port = segments(b.plan, firstPort)
	for _, n := range b.plan.Networks {
		if n.Kind == topology.Veth {
			b.paired[n.Name] = nil
		}
	}
	for i := range b.plan.Nodes {
		node := &b.plan.Nodes[i]
		for k, iface := range node.Interfaces {
			if iface.Kind != topology.VethIface {
				continue
			}
			end, err := nodeEnd(iface, k)
			if err != nil {
				return fmt.Errorf("node %s: %w", node.Name, err)
			}
			if ends, ok := b.paired[iface.Network]; ok {
				end.Index += pairShift * len(ends)
				b.paired[iface.Network] = append(ends, pairEnd{node, end, iface.Down})
				continue
			}
			bridges, ok := b.bridges[iface.Network]
			if !ok {
				return fmt.Errorf("node %s: interface %s: no network %q", node.Name, iface.Name, iface.Network)
			}
			here := rtnl.End{
				Name: portName(node.Name, iface.Name, port), Index: port, MTU: end.MTU,
				Master: bridges.next().Index, Up: true,
			}
			b.cables[cableName(node.Name, iface.Name)] = cable{here, end}
			port++
		}
	}
	return nil
}

func cableName(node, iface string) string { return node + "." + iface }

// plugIn makes the cables of a node whose namespace the calling thread is in,
// each with one message.
func (b *builder) plugIn(ctx context.Context, node *topology.Node) error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	var reqs []rtnl.Request
	for _, iface := range node.Interfaces {
		if c, ok := b.cables[cableName(node.Name, iface.Name)]; ok {
			reqs = append(reqs, rtnl.NewVeth(c.port, c.node, ns.FD()))
			if c.port.Name != cableName(node.Name, iface.Name) {
				alias := rtnl.End{Name: c.port.Name, Index: c.port.Index, Alias: cableName(node.Name, iface.Name)}
				reqs = append(reqs, rtnl.SetLink(alias))
			}
		}
	}
	return b.onSwitch(func(conn *rtnl.Conn) error { return conn.Apply(ctx, reqs...) })
}

func (b *builder) isPaired(node *topology.Node) bool {
	return slices.ContainsFunc(node.Interfaces, func(iface topology.Interface) bool {
		_, paired := b.paired[iface.Network]
		return paired && iface.Kind == topology.VethIface
	})
}

// portName is the name of a bridge's port: node.interface if that fits into the
// kernel's 15 bytes, else a number, and node.interface is its alias. No bridge
// has such a name, since no network's has a dot.
func portName(node, iface string, index int) string {
	if name := cableName(node, iface); len(name) <= 15 {
		return name
	}
	return fmt.Sprintf("port.%d", index)
}

// linkPairs makes the veths that join two nodes without a bridge, and then
// finishes these nodes.
func (b *builder) linkPairs(ctx context.Context) error {
	for name, ends := range b.paired {
		if len(ends) != 2 {
			return fmt.Errorf("network %s: a veth link has 2 ends, this one %d", name, len(ends))
		}
		if err := b.linkPair(ctx, ends[0], ends[1]); err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
	}
	for i := range b.plan.Nodes {
		node := &b.plan.Nodes[i]
		if !b.isPaired(node) {
			continue
		}
		err := netns.Do(nsName(b.plan.Name, node.Name), func() error { return b.configure(ctx, node) })
		if err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
	}
	return nil
}

func (b *builder) linkPair(ctx context.Context, here, there pairEnd) error {
	peer, err := netns.Open(nsName(b.plan.Name, there.node.Name))
	if err != nil {
		return err
	}
	defer peer.Close()
	return netns.Do(nsName(b.plan.Name, here.node.Name), func() error {
		conn, err := rtnl.Dial()
		if err != nil {
			return err
		}
		err = conn.Apply(ctx, rtnl.NewVeth(here.end, there.end, peer.FD()))
		return errors.Join(err, conn.Close())
	})
}

// nodeEnd is the node's end of a veth: down until its settings are written.
func nodeEnd(iface topology.Interface, i int) (rtnl.End, error) {
	e := rtnl.End{Name: iface.Name, Index: firstIndex + i, MTU: iface.MTU}
	if iface.MAC == "" {
		return e, nil
	}
	mac, err := net.ParseMAC(iface.MAC)
	if err != nil {
		return e, fmt.Errorf("interface %s: %w", iface.Name, err)
	}
	e.MAC = mac
	return e, nil
}

// bridgeMAC is a locally administered address that is the same on every run. A
// bridge with an address of its own need not look for a new one at each port.
func bridgeMAC(lab, network string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("bridge\x00" + lab + "\x00" + network))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}

// linkTimeout bounds awaitLinks. The kernel's work queue needs milliseconds, or
// a second or two for a thousand links.
const linkTimeout = 30 * time.Second

// awaitLinks returns when the first packet that anyone sends will arrive.
func (b *builder) awaitLinks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	var ports []string
	for _, s := range b.bridges {
		for _, t := range s.trunks {
			ports = append(ports, t.lower.Name, t.upper.Name)
		}
	}
	for _, node := range b.plan.Nodes {
		for _, iface := range node.Interfaces {
			if c, ok := b.cables[cableName(node.Name, iface.Name)]; ok && !iface.Down {
				ports = append(ports, c.port.Name)
			}
		}
	}
	if err := rtnl.WaitOperational(ctx, b.segments, ports...); err != nil {
		return err
	}
	for _, ends := range b.paired {
		if ends[0].down || ends[1].down {
			continue
		}
		for _, e := range ends {
			if err := b.awaitLink(ctx, e); err != nil {
				return fmt.Errorf("node %s: %w", e.node.Name, err)
			}
		}
	}
	return nil
}

func (b *builder) awaitLink(ctx context.Context, e pairEnd) error {
	ns, err := netns.Open(nsName(b.plan.Name, e.node.Name))
	if err != nil {
		return err
	}
	defer ns.Close()
	return rtnl.WaitOperational(ctx, ns, e.end.Name)
}
