package lab

import (
	"context"
	"fmt"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
)

// A segment is one bridge, named like its network, or a tree of them. A bridge
// that gets one more port looks at all that it has, several times over
// (net/bridge/br_if.c: br_add_if), and takes no more than 1023 (BR_MAX_PORTS). So
// in a network with more than portsPerBridge ports the nodes' are on bridges of
// their own, and each of these is plugged into the network's by a trunk. There is
// only one way between any two ports, so nothing needs a spanning tree.
const portsPerBridge = 64

// segment is a network that is made of bridges.
type segment struct {
	bridges []rtnl.End // the network's own first
	trunks  []trunk    // to each of the others
	plugged int        // how many of the nodes' ports have got a bridge
}

// trunk is a veth between two bridges. Both ends are in the segments' namespace.
type trunk struct{ lower, upper rtnl.End }

// segments lays out the bridges of all networks. It returns the next free index.
func segments(plan *topology.Plan, port int) (map[string]*segment, int) {
	ports := map[string]int{}
	for _, node := range plan.Nodes {
		for _, iface := range node.Interfaces {
			if iface.Kind == topology.VethIface {
				ports[iface.Network]++
			}
		}
	}
	made := map[string]*segment{}
	index := firstIndex
	for _, n := range plan.Networks {
		if n.Kind != topology.Segment {
			continue
		}
		top := rtnl.End{Name: n.Name, Index: index, MTU: n.MTU, MAC: bridgeMAC(plan.Name, n.Name), Up: true}
		s := &segment{bridges: []rtnl.End{top}}
		index++
		for at := 0; ports[n.Name] > portsPerBridge && at < ports[n.Name]; at += portsPerBridge {
			s.extend(plan.Name, port)
			port += indicesPerTrunk
		}
		made[n.Name] = s
	}
	return made, port
}

// indicesPerTrunk is how many links extend makes.
const indicesPerTrunk = 3

// extend adds a bridge and its trunk. No node, network or interface has a plus in its name.
func (s *segment) extend(lab string, index int) {
	top := s.bridges[0]
	lower := rtnl.End{Name: fmt.Sprintf("bridge+%d", index), Index: index, MTU: top.MTU, Up: true}
	lower.MAC = bridgeMAC(lab, lower.Name)
	s.bridges = append(s.bridges, lower)
	s.trunks = append(s.trunks, trunk{
		lower: rtnl.End{Name: fmt.Sprintf("up+%d", index), Index: index + 1, MTU: top.MTU, Master: lower.Index, Up: true},
		upper: rtnl.End{Name: fmt.Sprintf("down+%d", index), Index: index + 2, MTU: top.MTU, Master: top.Index, Up: true},
	})
}

// next is the bridge for one more of the nodes' ports.
func (s *segment) next() rtnl.End {
	i := 0
	if len(s.trunks) > 0 {
		i = 1 + s.plugged/portsPerBridge
	}
	s.plugged++
	return s.bridges[i]
}

// makeBridges makes what segments has laid out.
func (b *builder) makeBridges(ctx context.Context) error {
	var reqs []rtnl.Request
	for _, s := range b.bridges {
		for _, bridge := range s.bridges {
			reqs = append(reqs, rtnl.NewBridge(bridge))
		}
		for _, t := range s.trunks {
			down := t.upper
			down.Up = false // a veth can't come up before its peer is there (drivers/net/veth.c: veth_open)
			reqs = append(reqs, rtnl.NewVeth(t.lower, down, b.segments.FD()), rtnl.SetLink(t.upper))
		}
	}
	return b.onSwitch(func(conn *rtnl.Conn) error { return conn.Apply(ctx, reqs...) })
}
