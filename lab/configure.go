package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// configurer sets up the inside of one node. It runs in the node's namespace,
// where the node's ends of its veths are already, down.
type configurer struct {
	node       *topology.Node
	settings   *rtnl.Settings
	services   []topology.Service // the plan's
	noServices bool               // settings of IPVS may then be missing

	conn    *rtnl.Conn
	control *rtnl.Control
	index   map[string]int // of interfaces, by name
	gue     map[guePort]bool
}

// guePort is a UDP port open for GUE.
type guePort struct {
	port uint16
	ipv6 bool
}

const loopbackIndex = 1 // LOOPBACK_IFINDEX, include/net/flow.h

// run does everything in the order that the plan promises: interfaces,
// settings, then up with addresses, routes and rules.
func (c *configurer) run(ctx context.Context) (err error) {
	if c.conn, err = rtnl.Dial(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.conn.Close()) }()
	if c.control, err = rtnl.OpenControl(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.control.Close()) }()
	c.index = map[string]int{"lo": loopbackIndex}
	if err := c.interfaces(ctx); err != nil {
		return err
	}
	if err := c.sysctls(); err != nil {
		return err
	}
	reqs := c.addresses()
	routes, err := c.routes()
	if err != nil {
		return err
	}
	if err := c.conn.Apply(ctx, append(reqs, routes...)...); err != nil {
		return err
	}
	return c.marks()
}

// interfaces makes what isn't there yet and finds out the indices.
func (c *configurer) interfaces(ctx context.Context) error {
	for i, iface := range c.node.Interfaces {
		end, err := nodeEnd(iface, i)
		if err != nil {
			return err
		}
		switch iface.Kind {
		case topology.VethIface:
			err = c.control.NoTxChecksum(iface.Name)
		case topology.DummyIface:
			err = c.conn.Apply(ctx, rtnl.NewDummy(end))
		default:
			err = c.tunnel(ctx, iface, end)
		}
		if err == nil {
			c.index[iface.Name], err = c.control.Index(iface.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *configurer) tunnel(ctx context.Context, iface topology.Interface, end rtnl.End) error {
	kind := string(iface.Kind)
	if iface.Kind == topology.GUEIface {
		kind = string(cmp.Or(iface.Inside, topology.IPIPIface))
		if err := c.openGUE(iface); err != nil {
			return err
		}
	}
	err := c.conn.AddTunnel(ctx, rtnl.Tunnel{End: end, Kind: kind, Local: iface.Local, Remote: iface.Remote, Checksum: iface.Checksum})
	if err == nil {
		end.Index, err = c.control.Index(iface.Name) // of a fallback device it isn't ours to choose
	}
	if err == nil && end.MTU == 0 {
		end.MTU, err = c.control.MTU(iface.Name)
	}
	if err != nil {
		return err
	}
	return c.conn.WakeIPv6(ctx, end)
}

// openGUE opens a tunnel's UDP port, which several tunnels may share.
func (c *configurer) openGUE(iface topology.Interface) error {
	ipv6 := iface.Inside == topology.IP6Iface
	at := guePort{iface.Port, ipv6}
	if c.gue[at] {
		return nil
	}
	if c.gue == nil {
		c.gue = map[guePort]bool{}
	}
	c.gue[at] = true
	return rtnl.AddGUE(iface.Port, ipv6)
}

// addresses brings the interfaces up and gives them their addresses. The
// loopback comes first: it gets 127.0.0.1 by itself only while it has no other
// address (net/ipv4/devinet.c).
func (c *configurer) addresses() []rtnl.Request {
	reqs := []rtnl.Request{rtnl.SetLink(rtnl.End{Name: "lo", Index: loopbackIndex, Up: true})}
	for _, a := range c.node.Loopback {
		reqs = append(reqs, rtnl.AddAddress("lo", loopbackIndex, a.Prefix))
	}
	for _, iface := range c.node.Interfaces {
		index := c.index[iface.Name]
		reqs = append(reqs, rtnl.SetLink(rtnl.End{Name: iface.Name, Index: index, MTU: iface.MTU, Up: !iface.Down}))
		reqs = append(reqs, c.addressesOf(iface)...)
	}
	return reqs
}

func (c *configurer) addressesOf(iface topology.Interface) (reqs []rtnl.Request) {
	for _, a := range iface.Addresses {
		reqs = append(reqs, rtnl.AddAddress(iface.Name, c.index[iface.Name], a.Prefix))
	}
	return reqs
}

func (c *configurer) routes() ([]rtnl.Request, error) {
	var reqs []rtnl.Request
	for _, r := range c.node.Routes {
		index, ok := c.index[r.Device]
		if r.Device != "" && !ok {
			return nil, fmt.Errorf("route to %s: no interface %q", r.To, r.Device)
		}
		req, err := rtnl.AddRoute(rtnl.Route{
			To: r.To, Via: r.Via, Index: index, Source: r.Source,
			Metric: r.Metric, MTU: r.MTU, Table: r.Table, Type: r.Type,
		})
		if err != nil {
			return nil, err
		}
		reqs = append(reqs, req)
	}
	for _, r := range c.node.Rules {
		reqs = append(reqs, rtnl.AddRule(rtnl.Rule{
			IPv6: r.Family == lb.IPv6, Priority: r.Priority, From: r.From, To: r.To,
			IIF: r.IIF, FWMark: r.FWMark, Table: r.Table,
		}))
	}
	return reqs, nil
}

// marks sets the firewall marks of the services that the node carries, on all
// interfaces through which clients' packets may come.
func (c *configurer) marks() error {
	var marks []rtnl.Mark
	for _, s := range c.services {
		if !slices.Contains(s.Directors, c.node.Name) {
			continue
		}
		for _, m := range s.Marks {
			marks = append(marks, rtnl.Mark{
				Value: s.Spec.FWMark, Protocol: uint8(m.Protocol), Addr: m.Addr, First: m.First, Last: m.Last,
			})
		}
	}
	if len(marks) == 0 {
		return nil
	}
	var indices []int
	for _, iface := range c.node.Interfaces {
		if iface.Kind == topology.VethIface {
			indices = append(indices, c.index[iface.Name])
		}
	}
	return rtnl.SetMarks(indices, marks)
}
