package scenarios_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// memoryDefects are wrong in what a director remembers of clients, and how it
// hashes them.
func memoryDefects() []defect {
	return []defect{
		{
			name: "healthy persistence", lab: "sticky",
		},
		{
			name: "persistence for half the time", lab: "sticky",
			plant: func(s site) error {
				return s.editService(func(spec *lb.Service) { spec.Timeout /= 2 })
			},
			says: []string{"timeout is 30s, planned is 1m0s"},
		},
		{
			name: "persistence by single addresses", lab: "sticky",
			plant: func(s site) error { return s.editService(func(spec *lb.Service) { spec.MaskBits = 32 }) },
			says:  []string{"persistence mask is 0, planned is 24"},
		},
		{
			name: "a drained real server that gets connections", lab: "sticky",
			plant: func(s site) error { return s.edit("rs3", func(d *lb.Destination) { d.Weight = 1 }) },
			says:  []string{"real server 10.1.0.13:80: weight is 1, planned is 0"},
			fails: []string{"sticky: one by one"},
		},
		{
			name: "a scheduler's flag dropped", lab: "sticky",
			build: func(p *topology.Plan) { p.Services[1].Spec.Flags = 0 },
			says:  []string{"tcp 10.0.0.101:80: flags is none, planned is sh-port"},
		},
	}
}

// strayDefects are addresses, routes and settings in the wrong place.
func strayDefects() []defect {
	return []defect{
		{
			name: "VIP on the wrong interface", lab: "nat",
			plant: func(s site) error {
				err := s.link("director", "outside", func(h *netlink.Handle, l netlink.Link) error { return h.AddrDel(l, addr("10.0.0.100/32")) })
				if err != nil {
					return err
				}
				return s.link("director", "inside", func(h *netlink.Handle, l netlink.Link) error { return h.AddrAdd(l, addr("10.0.0.100/32")) })
			},
			says: []string{"interface outside: address 10.0.0.100/32 is missing"},
		},
		{
			name: "VIP on a second director", lab: "nat",
			plant: func(s site) error {
				return s.link("idle", "outside", func(h *netlink.Handle, l netlink.Link) error { return h.AddrAdd(l, addr("10.0.0.100/32")) })
			},
			says: []string{"node idle is not as planned:\ninterface outside: address 10.0.0.100/32 was not planned"},
		},
		{
			name: "wrong netmask", lab: "nat",
			plant: func(s site) error {
				return s.link("rs1", "inside", func(h *netlink.Handle, l netlink.Link) error {
					if err := h.AddrAdd(l, addr("10.1.0.11/8")); err != nil {
						return err
					}
					return h.AddrDel(l, addr("10.1.0.11/24"))
				})
			},
			says: []string{"interface inside: address 10.1.0.11/24 is missing"},
		},
		{
			name: "one real server without its route back", lab: "nat",
			plant: func(s site) error {
				return s.link("rs2", "inside", func(h *netlink.Handle, l netlink.Link) error {
					return h.RouteDel(&netlink.Route{Gw: netip.MustParseAddr("10.1.0.1").AsSlice(), Dst: addr("0.0.0.0/0").IPNet})
				})
			},
			says: []string{"node rs2 is not as planned:\nroute 0.0.0.0/0 via 10.1.0.1 is missing", "expected the real server to answer", "1 of 2 did not, such as connection 2"},
		},
		{
			name: "smaller packets in the middle", lab: "nat",
			plant: func(s site) error {
				return s.link("director", "inside", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 1400) })
			},
			says: []string{"node director is not as planned:\ninterface inside: MTU is 1400, planned 1500"},
		},
		{
			name: "connections kept in connection tracking", lab: "nat",
			plant: func(s site) error { return s.sysctl("director", "net.ipv4.vs.conntrack", "1") },
			says:  []string{"expected net.ipv4.vs.conntrack = 0 in node director, it is 1"},
		},
		{
			name: "rp_filter on the director", lab: "nat",
			plant: func(s site) error { return s.sysctl("director", "net.ipv4.conf.all.rp_filter", "1") },
			says:  []string{"expected net.ipv4.conf.all.rp_filter = 0 in node director, it is 1"},
		},
		{
			name: "a service that nobody planned", lab: "nat",
			plant: func(s site) error {
				extra := s.service()
				extra.Port, extra.Destinations = 8080, nil
				return s.apply("director", lb.Change{Op: lb.AddService, Service: extra})
			},
			says: []string{"tcp 10.0.0.100:8080: the service is not planned"},
		},
		{
			name: "a real server without a way to the client", lab: "dr",
			plant: func(s site) error {
				return s.link("rs1", "lan", func(h *netlink.Handle, l netlink.Link) error {
					return h.RouteAdd(&netlink.Route{Dst: addr("10.0.0.2/32").IPNet, Type: unix.RTN_BLACKHOLE})
				})
			},
			says: []string{"expected the real server to answer as the VIP"},
		},
		{
			name: "a client with a route of its own to the VIP", lab: "dr",
			plant: func(s site) error {
				return s.link("client", "lan", func(h *netlink.Handle, l netlink.Link) error {
					return h.RouteAdd(&netlink.Route{Dst: addr("10.0.0.100/32").IPNet, Gw: netip.MustParseAddr("10.0.0.12").AsSlice()})
				})
			},
			says: []string{"expected the director to be asked for the VIP"},
		},
		{
			name: "the first port not marked", lab: "mark",
			build: func(p *topology.Plan) { p.Services[0].Marks[0].First++ },
			says:  []string{"port 8000 carries the mark 7"},
		},
	}
}

// meddlers are programs that do something while the suite runs, and servers
// that are not what they say.
func meddlers() []defect {
	return []defect{
		{
			name: "a real server under a wrong name", lab: "nat",
			build: func(p *topology.Plan) { rename(p, "rs2", "rs7") },
			says:  []string{`must answer "rs2"; got ["rs7"]`},
			fails: []string{"one by one"},
		},
		{
			name: "a cable that carries nothing", lab: "nat",
			plant: func(s site) error {
				_, err := s.Fault(s.ctx, topology.Fault{Do: topology.FaultLoss, Node: "rs2", Interface: "inside", Loss: 100})
				return err
			},
			says: []string{"the director sent connections on that rs2 did not accept"},
		},
		{
			name: "another program zeroes the statistics", lab: "nat",
			plant: func(s site) error {
				return s.again(func(t lb.Table) { _ = t.Zero(s.ctx) }) // the suite is to find out, not this
			},
			focus: []string{"one by one", "statistics"},
			says:  []string{"the statistics lag behind the live totals by "},
		},
		{
			name: "another program changes a weight back again", lab: "nat",
			plant: func(s site) error {
				d := s.dest("rs1")
				d.Weight = 9
				change := lb.DestChange(lb.EditDestination, s.service().Key, d)
				return s.again(func(t lb.Table) { _ = t.Apply(s.ctx, change) }) // fails while the suite has the service removed
			},
			says:  []string{"real server 10.1.0.11:80: weight is 9, planned is 1"},
			fails: []string{"one by one"},
		},
		{
			name: "healthy, with somebody who puts the service back when it goes", lab: "nat",
			plant: func(s site) error { return s.again(s.putBack()) },
			focus: []string{"one by one", "held open"},
		},
	}
}

// putBack adds the service every other time that it is found missing.
func (s site) putBack() func(lb.Table) {
	have, gone, times := s.service(), false, 0
	return func(t lb.Table) {
		was := gone
		_, err := t.Get(s.ctx, have.Key)
		if gone = errors.Is(err, lb.ErrNoService); !gone || was {
			return
		}
		if times++; times%2 == 1 {
			_ = t.Apply(s.ctx, lb.Diff(nil, []lb.Service{have}, lb.DiffOptions{})...) // the suite may be adding it as well
			gone = false
		}
	}
}

func rename(p *topology.Plan, node, identity string) {
	for i := range p.Nodes {
		if n := &p.Nodes[i]; n.Name == node {
			for j := range n.Responders {
				n.Responders[j].Identity = identity
			}
		}
	}
}

// again does something to the director's table two hundred times a second, until
// the site is cleaned.
func (s site) again(do func(lb.Table)) error {
	n, err := s.Node("director")
	if err != nil {
		return err
	}
	table, err := n.Table(s.ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	var done sync.WaitGroup
	*s.cleanups = append(*s.cleanups, func() error {
		cancel()
		done.Wait()
		return table.Close()
	})
	done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			do(table)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}
