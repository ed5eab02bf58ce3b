package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"runtime"

	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sync/errgroup"
)

// builder makes a lab that is recorded and whose lock is held.
type builder struct {
	*Lab
	state    *state
	stateDir *stateDir
	opts     Options

	spaces map[string]*netns.NS // by node; the empty name: segments
	ports  []string             // of bridges that have to carry packets

}

// firstIndex is the index of a node's first own interface and of the first
// bridge. Below it are lo and the devices that tunnel modules put into every
// namespace (nine as of Linux 6.12).
const firstIndex = 16

// build makes everything in order. What it made when it fails is tearDown's.
func (b *builder) build(ctx context.Context) error {
	defer b.closeSpaces()
	steps := []struct {
		say string
		do  func(context.Context) error
	}{
		{"creating network namespaces", b.createNamespaces},
		{"linking nodes", b.linkNodes},
		{"configuring nodes", b.configureNodes},
		{"waiting for links", b.awaitLinks},
		{"setting virtual services", b.applyServices},
		{"starting responders", b.startAgent},
		{"starting commands", b.startCommands},
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.opts.Progress(step.say)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) createNamespaces(context.Context) error {
	if err := netns.CreateAll(b.state.Namespaces); err != nil {
		return err
	}
	b.spaces = map[string]*netns.NS{}
	for i, name := range b.state.Namespaces {
		ns, err := netns.Open(name)
		if err != nil {
			return err
		}
		node := ""
		if i > 0 {
			node = b.plan.Nodes[i-1].Name
		}
		b.spaces[node] = ns
	}
	return writeFile(hostsFile(b.dir), hosts(b.plan))
}

func (b *builder) closeSpaces() {
	for _, ns := range b.spaces {
		ns.Close() // opened for reading, nothing to lose
	}
}

// segmentSysctls keep the switches from taking part in what they carry.
var segmentSysctls = []rtnl.Sysctl{
	{Key: "net.ipv6.conf.all.disable_ipv6", Value: "1", Optional: true},
	{Key: "net.ipv6.conf.default.disable_ipv6", Value: "1", Optional: true},
	{Key: "net.bridge.bridge-nf-call-iptables", Value: "0", Optional: true},
	{Key: "net.bridge.bridge-nf-call-ip6tables", Value: "0", Optional: true},
	{Key: "net.bridge.bridge-nf-call-arptables", Value: "0", Optional: true},
}

// linkNodes makes the bridges and every veth pair, each pair with one message.
func (b *builder) linkNodes(ctx context.Context) error {
	segments := b.spaces[""]
	var conn *rtnl.Conn
	err := segments.Do(func() (err error) {
		for _, s := range segmentSysctls {
			if err := s.Set(); err != nil {
				return err
			}
		}
		conn, err = rtnl.Dial()
		return err
	})
	if err != nil {
		return fmt.Errorf("prepare the segments: %w", err)
	}
	defer conn.Close()
	reqs, err := b.segmentLinks()
	if err != nil {
		return err
	}
	if err := conn.Apply(ctx, reqs...); err != nil {
		return fmt.Errorf("%s (a bridge takes at most 1023 ports): %w", "make the segments", err)
	}
	return b.linkPairs(ctx)
}

// segmentLinks lists the bridges and the cables that lead to them.
func (b *builder) segmentLinks() ([]rtnl.Request, error) {
	var reqs []rtnl.Request
	index := firstIndex
	bridges := map[string]rtnl.End{}
	for _, n := range b.plan.Networks {
		if n.Kind == topology.Segment {
			e := rtnl.End{Name: n.Name, Index: index, MTU: n.MTU, MAC: bridgeMAC(b.plan.Name, n.Name), Up: true}
			bridges[n.Name] = e
			reqs = append(reqs, rtnl.NewBridge(e))
			index++
		}
	}
	for _, node := range b.plan.Nodes {
		for i, iface := range node.Interfaces {
			bridge, ok := bridges[iface.Network]
			if iface.Kind != topology.VethIface || !ok {
				continue
			}
			there, err := nodeEnd(iface, i)
			if err != nil {
				return nil, fmt.Errorf("node %s: %w", node.Name, err)
			}
			here := rtnl.End{
				Name: portName(node.Name, iface.Name, index), Index: index, MTU: there.MTU,
				Alias: node.Name + ":" + iface.Name, Master: bridge.Index, Up: true,
			}
			index++
			reqs = append(reqs, rtnl.NewVeth(here, there, b.spaces[node.Name].FD()))
			if !iface.Down {
				b.ports = append(b.ports, here.Name)
			}
		}
	}
	return reqs, nil
}

// portName is the name of a bridge's port: node.interface if that fits into the
// kernel's 15 bytes. No bridge has such a name, since no network's has a dot.
func portName(node, iface string, index int) string {
	if name := node + "." + iface; len(name) <= 15 {
		return name
	}
	return fmt.Sprintf("port.%d", index)
}

// linkPairs makes the veth pairs that join two nodes without a bridge.
func (b *builder) linkPairs(ctx context.Context) error {
	type cableEnd struct {
		node string
		end  rtnl.End
	}
	for _, n := range b.plan.Networks {
		if n.Kind != topology.Veth {
			continue
		}
		var ends []cableEnd
		for _, node := range b.plan.Nodes {
			for i, iface := range node.Interfaces {
				if iface.Kind == topology.VethIface && iface.Network == n.Name {
					end, err := nodeEnd(iface, i)
					if err != nil {
						return fmt.Errorf("node %s: %w", node.Name, err)
					}
					ends = append(ends, cableEnd{node.Name, end})
				}
			}
		}
		if len(ends) != 2 {
			return fmt.Errorf("network %s: a veth link has 2 ends, this one %d", n.Name, len(ends))
		}
		conn, err := rtnl.DialIn(b.spaces[ends[0].node])
		if err != nil {
			return fmt.Errorf("node %s: %w", ends[0].node, err)
		}
		err = conn.Apply(ctx, rtnl.NewVeth(ends[0].end, ends[1].end, b.spaces[ends[1].node].FD()))
		if err = errors.Join(err, conn.Close()); err != nil {
			return fmt.Errorf("network %s: %w", n.Name, err)
		}
	}
	return nil
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

// configureNodes sets up the inside of all nodes, several at a time.
func (b *builder) configureNodes(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i := range b.plan.Nodes {
		node := &b.plan.Nodes[i]
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			c := &configurer{node: node, plan: b.plan, noServices: b.opts.NoServices}
			if err := b.spaces[node.Name].Do(func() error { return c.run(ctx) }); err != nil {
				return fmt.Errorf("node %s: %w", node.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// linkTimeout bounds awaitLinks. The kernel's work queue needs milliseconds, or
// a second or two for a thousand links.
const linkTimeout = 30 * time.Second

// awaitLinks returns when the first packet that anyone sends will arrive.
func (b *builder) awaitLinks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	if err := rtnl.WaitOperational(ctx, b.spaces[""], b.ports...); err != nil {
		return err
	}
	direct := map[string]bool{}
	for _, n := range b.plan.Networks {
		direct[n.Name] = n.Kind == topology.Veth
	}
	for _, node := range b.plan.Nodes {
		var names []string
		for _, iface := range node.Interfaces {
			if direct[iface.Network] && !iface.Down && !b.peerDown(iface.Network) {
				names = append(names, iface.Name)
			}
		}
		if err := rtnl.WaitOperational(ctx, b.spaces[node.Name], names...); err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
	}
	return nil
}

// peerDown tells whether one end of a veth network is left down on purpose.
func (b *builder) peerDown(network string) bool {
	for _, node := range b.plan.Nodes {
		for _, iface := range node.Interfaces {
			if iface.Network == network && iface.Down {
				return true
			}
		}
	}
	return false
}
