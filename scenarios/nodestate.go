package scenarios

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// nodeState is what a node's kernel has of links, addresses and routes.
type nodeState struct {
	links  map[string]netlink.Link
	addrs  map[string][]netip.Prefix // by link, without the kernel's own link-local ones
	routes []netlink.Route           // of all tables
	rules  []netlink.Rule
	// neighbours are those that somebody has set for good.
	neighbours []netlink.Neigh
	// disciplines are those for queueing that somebody has put on links.
	disciplines []netlink.Qdisc
}

// readNode asks a node's kernel.
func readNode(n *lab.Node) (*nodeState, error) {
	ns, err := netns.Open(n.Namespace())
	if err != nil {
		return nil, fmt.Errorf("read node %s: %w", n.Name(), err)
	}
	defer ns.Close()
	st := &nodeState{links: map[string]netlink.Link{}, addrs: map[string][]netip.Prefix{}}
	err = rtnl.Read(ns, func(h *netlink.Handle) error {
		links, err := rtnl.Retry(h.LinkList)
		if err != nil {
			return err
		}
		for _, l := range links {
			name := l.Attrs().Name
			st.links[name] = l
			addrs, err := rtnl.Retry(func() ([]netlink.Addr, error) { return h.AddrList(l, netlink.FAMILY_ALL) })
			if err != nil {
				return err
			}
			for _, a := range addrs {
				st.addrs[name] = append(st.addrs[name], prefixOf(a.IPNet))
			}
		}
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		st.routes, err = rtnl.Retry(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(netlink.FAMILY_ALL, all, netlink.RT_FILTER_TABLE)
		})
		return errors.Join(err, st.readRules(h), st.readMeddling(h))
	})
	if err != nil {
		return nil, fmt.Errorf("read node %s: %w", n.Name(), err)
	}
	return st, nil
}

// ownWays tells whether a node's director is told by the user what addresses to
// have: with a mask of its own, on an interface of its own (keepalived's
// use_vmac), and others beside them (static_ipaddress).
func (st *stage) ownWays(node string) bool {
	d := st.plan.DirectorOf(node)
	return d != nil && (d.Kind == topology.CommandDirector || d.Kind == topology.Keepalived && d.Config != "")
}

// has tells whether the node has an address, wherever and with whatever mask.
func (st *nodeState) has(a netip.Addr) bool {
	for _, have := range st.addrs {
		if slices.ContainsFunc(have, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return true
		}
	}
	return false
}

// excuse makes of the addresses, routes and rules those that are planned, as far
// as they are there (VIPs wherever they are), so that nothing but what is
// missing is wrong.
func (st *nodeState) excuse(n *topology.Node) {
	addrs := map[string][]netip.Prefix{}
	for _, i := range n.Interfaces {
		for _, a := range i.Addresses {
			if slices.Contains(st.addrs[i.Name], a.Prefix) || a.VIP && st.has(a.Prefix.Addr()) {
				addrs[i.Name] = append(addrs[i.Name], a.Prefix)
			}
		}
	}
	addrs["lo"] = st.addrs["lo"]
	st.addrs = addrs
	st.excuseWays(n)
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}

// check compares a node with its plan.
func (st *nodeState) check(n *topology.Node) error {
	var wrong []error
	for _, iface := range n.Interfaces {
		wrong = append(wrong, st.checkLink(iface))
	}
	if lo := st.links["lo"]; lo == nil || lo.Attrs().Flags&net.FlagUp == 0 {
		wrong = append(wrong, errors.New("interface lo is down: the node cannot reach its own addresses"))
	}
	wrong = append(wrong, st.checkAddresses("lo", n.Loopback))
	return errors.Join(append(wrong, st.checkRoutes(n.Routes), st.checkRules(n.Rules), st.checkMeddling())...)
}

// checkLink compares one interface with its plan.
func (st *nodeState) checkLink(want topology.Interface) error {
	l := st.links[want.Name]
	if l == nil {
		return fmt.Errorf("interface %s is missing", want.Name)
	}
	a := l.Attrs()
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("interface %s: "+format, append([]any{want.Name}, args...)...))
	}
	if up := a.Flags&net.FlagUp != 0; up == want.Down {
		add("up is %t, planned %t", up, !want.Down)
	}
	if want.Kind == topology.VethIface && !want.Down && a.OperState != netlink.OperUp {
		add("it carries no packets: its state is %s", a.OperState)
	}
	if want.Kind == topology.VethIface && !strings.EqualFold(a.HardwareAddr.String(), want.MAC) {
		add("MAC is %s, planned %s", a.HardwareAddr, want.MAC)
	}
	if want.MTU != 0 && a.MTU != want.MTU {
		add("MTU is %d, planned %d", a.MTU, want.MTU)
	}
	if !want.Down {
		wrong = append(wrong, st.checkAddresses(want.Name, want.Addresses))
	}
	return errors.Join(wrong...)
}

// checkAddresses compares an interface's addresses with the planned ones; the
// kernel adds loopback and link-local ones of its own.
func (st *nodeState) checkAddresses(name string, want []topology.Address) error {
	have := st.addrs[name]
	var wrong []error
	for _, a := range want {
		if !slices.Contains(have, a.Prefix) {
			wrong = append(wrong, fmt.Errorf("interface %s: address %s is missing, it has %v", name, a.Prefix, have))
		}
	}
	for _, p := range have {
		own := p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || st.sit(name) && compatible.Contains(p.Addr())
		if !own && !slices.ContainsFunc(want, func(a topology.Address) bool { return a.Prefix == p }) {
			wrong = append(wrong, fmt.Errorf("interface %s: address %s was not planned", name, p))
		}
	}
	return errors.Join(wrong...)
}

func (st *nodeState) sit(link string) bool {
	l := st.links[link]
	return l != nil && l.Type() == string(topology.SITIface)
}

// compatible are the IPv4-compatible addresses (RFC 4291, section 2.5.5.1), which
// the kernel gives sit devices (net/ipv6/addrconf.c, add_v4_addrs).
var compatible = netip.MustParsePrefix("::/96")
