package scenarios_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
)

// unaskedDefects are what somebody has added that no plan asks for: nothing is
// missing, and much of it TCP makes up for.
func unaskedDefects() []defect {
	return []defect{
		{
			name: "half a default route", lab: "nat",
			plant: func(s site) error {
				return s.link("rs1", "inside", func(h *netlink.Handle, l netlink.Link) error {
					return h.RouteAdd(&netlink.Route{Dst: addr("0.0.0.0/1").IPNet, Gw: netip.MustParseAddr("10.1.0.3").AsSlice()})
				})
			},
			says: []string{
				"node rs1 is not as planned:\nroute 0.0.0.0/1 via 10.1.0.3 dev inside in table 254 was not planned",
				"expected the answer to come back through the director (10.1.0.11:80 > ", ", which came as far as client:outside in",
			},
		},
		{
			name: "a policy rule", lab: "nat",
			plant: func(s site) error {
				return s.link("rs2", "inside", func(h *netlink.Handle, l netlink.Link) error {
					r := netlink.NewRule()
					r.Priority, r.Table, r.Src = 100, 77, addr("10.1.0.12/32").IPNet
					way := netlink.Route{Table: 77, Gw: netip.MustParseAddr("10.1.0.3").AsSlice(), Dst: addr("0.0.0.0/0").IPNet}
					return errors.Join(h.RuleAdd(r), h.RouteAdd(&way))
				})
			},
			says: []string{"policy rule 100: from 10.1.0.12/32 lookup 77 (IPv4) was not planned", "route 0.0.0.0/0 via 10.1.0.3 dev inside in table 77 was not planned"},
		},
		{
			name: "policy rules that look up nothing", lab: "nat",
			plant: func(s site) error {
				return s.link("director", "inside", func(h *netlink.Handle, l netlink.Link) error {
					prohibit, skip := netlink.NewRule(), netlink.NewRule()
					prohibit.Priority, prohibit.Dst, prohibit.Type = 200, addr("10.1.0.12/32").IPNet, unix.FR_ACT_PROHIBIT
					skip.Priority, skip.Goto, skip.IPProto, skip.Dport = 100, 32767, unix.IPPROTO_TCP, netlink.NewRulePortRange(80, 81)
					skip.Type = unix.FR_ACT_GOTO
					return errors.Join(h.RuleAdd(prohibit), h.RuleAdd(skip))
				})
			},
			focus: []string{"links are up"},
			says: []string{
				"policy rule 100: from all ipproto 6 dport 80-81 goto 32767 (IPv4) was not planned",
				"policy rule 200: from all to 10.1.0.12/32 blackhole, unreachable, prohibit or nop: ip rule tells (IPv4) was not planned",
			},
		},
		{
			name: "a loopback interface that is down", lab: "dr",
			plant: func(s site) error {
				return s.link("rs2", "lo", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetDown(l) })
			},
			focus: []string{"links are up"},
			says:  []string{"node rs2 is not as planned:\ninterface lo is down: the node cannot reach its own addresses"},
		},
		{
			name: "a cable that loses one in seven", lab: "nat",
			plant: func(s site) error {
				return s.link("rs2", "inside", func(h *netlink.Handle, l netlink.Link) error {
					return h.QdiscAdd(netlink.NewNetem(netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT}, netlink.NetemQdiscAttrs{Loss: 14}))
				})
			},
			says: []string{"node rs2 is not as planned:\ninterface inside: queueing discipline netem was not planned"},
		},
		{
			name: "a stale neighbour", lab: "nat",
			plant: func(s site) error { return s.misdirect("rs2", "10.1.0.1", "rs3") },
			says:  []string{"interface inside: somebody has set 10.1.0.1's hardware address to "},
		},
		{
			name: "shorter timeouts", lab: "nat",
			plant: func(s site) error {
				n, err := s.Node("director")
				if err != nil {
					return err
				}
				table, err := n.Table(s.ctx)
				if err != nil {
					return err
				}
				return errors.Join(table.SetTimeouts(s.ctx, lb.Timeouts{TCP: 3 * time.Second}), table.Close())
			},
			says: []string{"the connection timeouts of director director (tcp, after a FIN, udp) are 3s, 2m0s, 5m0s"},
		},
		{
			name: "another service's firewall mark", lab: "nat",
			plant: func(s site) error { return s.markAway(9) },
			says:  []string{"fwmark 9: the service is not planned", "the real servers of web count 0 of its 12 connections", "fwmark 9 of director"},
		},
		{
			name: "a stranger at a real server's port", lab: "nat",
			plant: func(s site) error {
				return errors.Join(s.StopResponder(s.ctx, "rs2", traffic.HTTP, 80), s.listen("rs2", "10.1.0.12:80"))
			},
			says: []string{"the director sent connections on to rs2, where somebody took them who is not the lab's server"},
		},
		{
			name: "a service added in the middle of it", lab: "nat",
			plant: func(s site) error {
				extra := s.service()
				extra.Port, extra.Destinations = 8080, nil
				add := sync.OnceValue(func() error { return s.apply("director", lb.Change{Op: lb.AddService, Service: extra}) })
				return s.lie(func(path string, body []byte) ([]byte, error) {
					if strings.HasPrefix(path, "/accepted") {
						return body, add()
					}
					return body, nil
				})
			},
			focus: []string{"tables are as planned", "one by one", "changed meanwhile"},
			says:  []string{"the lab has changed since it was looked at first:\ndirector director: the director's table is not as planned:\n    tcp 10.0.0.100:8080: the service is not planned"},
		},
	}
}

// markAway gives the first service's packets a firewall mark, of which there is
// a service too.
func (s site) markAway(mark uint32) error {
	other := s.service()
	other.Key, other.Scheduler, other.Destinations = lb.MarkKey(mark, lb.IPv4), "rr", nil
	d := s.dest("rs1")
	d.Port = 0
	err := s.apply("director", lb.Change{Op: lb.AddService, Service: other}, lb.DestChange(lb.AddDestination, other.Key, d))
	if err != nil {
		return err
	}
	return s.link("director", "outside", func(_ *netlink.Handle, l netlink.Link) error {
		web := s.service()
		return rtnl.SetMarks([]int{l.Attrs().Index}, []rtnl.Mark{{Value: mark, Protocol: unix.IPPROTO_TCP, Addr: web.Addr, First: web.Port, Last: web.Port}})
	})
}

// listen takes connections in a node, and says nothing.
func (s site) listen(node, at string) error {
	n, err := s.Node(node)
	if err != nil {
		return err
	}
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp", at); return err }); err != nil {
		return fmt.Errorf("be a stranger in %s: %w", node, err)
	}
	*s.cleanups = append(*s.cleanups, l.Close)
	return nil
}
