package scenarios_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// healthy are labs with nothing wrong: whatever the suite says of them is a
// false alarm.
func healthy() []defect {
	return []defect{
		{name: "healthy nat", lab: "nat"},
		{name: "healthy dr", lab: "dr"},
		{name: "healthy tun", lab: "tun"},
		{name: "healthy mark", lab: "mark"},
		{name: "healthy gre", lab: "gre"},
		{
			// The order decides who is first in turn, and is not planned: the
			// model has to follow it.
			name: "healthy, real servers added in another order", lab: "nat",
			build: func(p *topology.Plan) {
				slices.Reverse(p.Services[0].Spec.Destinations)
				slices.Reverse(p.Services[0].RealServers)
			},
		},
	}
}

func defects() []defect {
	table := tableDefects()
	for i := range table {
		// Comparing tables is not enough: the picks must give it away too.
		table[i].fails = []string{"one by one"}
	}
	return slices.Concat(table, natDefects(), drDefects(), tunDefects(), witnessDefects(), takeoverDefects(),
		checkDefects(), memoryDefects(), strayDefects(), unaskedDefects(), meddlers())
}

// tableDefects are what a director's table can have wrong.
func tableDefects() []defect {
	return []defect{
		{
			name: "wrong weight", lab: "nat",
			plant: func(s site) error { return s.edit("rs2", func(d *lb.Destination) { d.Weight = 5 }) },
			says:  []string{"real server 10.1.0.12:80: weight is 5, planned is 2"},
		},
		{
			name: "an edit that the controller ignored", lab: "nat",
			build: func(p *topology.Plan) { p.Services[0].Spec.Destinations[1].Weight = 1 },
			says:  []string{"real server 10.1.0.12:80: weight is 1, planned is 2"},
		},
		{
			name: "wrong scheduler", lab: "nat",
			plant: func(s site) error { return s.editService(func(spec *lb.Service) { spec.Scheduler = "rr" }) },
			says:  []string{"scheduler is rr, planned is wrr"},
		},
		{
			name: "a real server still drained", lab: "nat",
			plant: func(s site) error { return s.edit("rs3", func(d *lb.Destination) { d.Weight = 0 }) },
			says:  []string{"real server 10.1.0.13:80: weight is 0, planned is 3"},
		},
		{
			name: "missing real server", lab: "nat",
			plant: func(s site) error {
				return s.apply("director", lb.DestChange(lb.DeleteDestination, s.service().Key, s.dest("rs3")))
			},
			says: []string{"real server 10.1.0.13:80 is missing"},
		},
		{
			name: "extra real server", lab: "nat",
			plant: func(s site) error {
				d := s.dest("rs3")
				d.Addr = netip.MustParseAddr("10.1.0.3")
				return s.apply("director", lb.DestChange(lb.AddDestination, s.service().Key, d))
			},
			says: []string{"real server 10.1.0.3:80 is not planned"},
		},
		{
			name: "wrong forwarding method", lab: "nat",
			plant: func(s site) error { return s.edit("rs1", func(d *lb.Destination) { d.Forward = lb.DR }) },
			says:  []string{"real server 10.1.0.11:80: forwarding method is dr, planned is nat"},
		},
		{
			name: "wrong port", lab: "nat",
			build: func(p *topology.Plan) { p.Services[0].Spec.Destinations[1].Port = 81 },
			says:  []string{"real server 10.1.0.12:81 is not planned"},
		},
		{
			name: "table flushed", lab: "nat",
			plant: func(s site) error { return s.apply("director", lb.Change{Op: lb.Flush}) },
			says:  []string{"tcp 10.0.0.100:80: the service is missing"},
		},
		{
			name: "wrong VIP", lab: "nat",
			build: func(p *topology.Plan) { p.Services[0].Spec.Addr = netip.MustParseAddr("10.0.0.101") },
			says:  []string{"tcp 10.0.0.101:80: the service is not planned"},
		},
		{
			name: "service on another director", lab: "nat",
			build: func(p *topology.Plan) { p.Services[0].Directors = []string{"idle"} },
			says: []string{
				"director director: the director's table is not as planned:\n    tcp 10.0.0.100:80: the service is missing",
				"director idle: the director's table is not as planned:\n    tcp 10.0.0.100:80: the service is not planned",
			},
		},
		{
			name: "threshold", lab: "nat",
			plant: func(s site) error { return s.edit("rs3", func(d *lb.Destination) { d.Upper = 1 }) },
			says:  []string{"real server 10.1.0.13:80: upper is 1, planned is 0"},
		},
		{
			name: "persistence left over", lab: "nat",
			plant: func(s site) error {
				return s.editService(func(spec *lb.Service) { spec.Timeout = 5 * time.Minute })
			},
			says: []string{"timeout is 5m0s, planned is 0s"},
		},
		{
			name: "datagrams scheduled one by one", lab: "dr",
			build: func(p *topology.Plan) {
				i := slices.IndexFunc(p.Services, func(s topology.Service) bool { return s.Name == "dns" })
				p.Services[i].Spec.Flags = lb.OnePacket
			},
			says: []string{"udp 10.0.0.100:53: flags is one-packet, planned is none"},
		},
	}
}

// natDefects are what the network around a NAT director can have wrong.
func natDefects() []defect {
	return []defect{
		{
			name: "lost return route", lab: "nat",
			plant: func(s site) error {
				n, err := s.Node("rs1")
				if err != nil {
					return err
				}
				return n.ReplaceRoute(netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.MustParseAddr("10.1.0.3"))
			},
			says: []string{"expected the answer to come back through the director", "node rs1 is not as planned:\nroute 0.0.0.0/0 via 10.1.0.1 is missing"},
		},
		{
			name: "director does not forward", lab: "nat",
			plant: func(s site) error { return s.sysctl("director", "net.ipv4.ip_forward", "0") },
			says:  []string{"expected net.ipv4.ip_forward = 1 in node director, it is 0", "expected the director to have put the VIP back as source"},
		},
		{
			name: "director sends redirects", lab: "nat",
			plant: func(s site) error { return s.sysctl("director", "net.ipv4.conf.inside.send_redirects", "1") },
			says:  []string{"expected net.ipv4.conf.inside.send_redirects = 0 in node director, it is 1"},
		},
		{
			name: "director drops packets", lab: "nat",
			plant: func(s site) error {
				return s.sysctl("director", "net.ipv4.vs.am_droprate", "1", "net.ipv4.vs.drop_packet", "3")
			},
			says: []string{"expected net.ipv4.vs.drop_packet = 0 in node director, it is 3"},
		},
		{
			name: "director keeps to old connections", lab: "nat",
			plant: func(s site) error { return s.sysctl("director", "net.ipv4.vs.conn_reuse_mode", "0") },
			says:  []string{"expected net.ipv4.vs.conn_reuse_mode = 1 in node director, it is 0"},
		},
		{
			name: "statistics that stand still", lab: "nat",
			plant: func(s site) error { return s.sysctl("director", "net.ipv4.vs.run_estimation", "0") },
			focus: []string{"one by one", "statistics"},
			says:  []string{"when its 12 visits had been counted, 12;", "the statistics lag behind the live totals by "},
		},
		{
			name: "responder stopped", lab: "nat",
			plant: func(s site) error { return s.StopResponder(s.ctx, "rs2", traffic.HTTP, 80) },
			says:  []string{"rs2's http responder at 10.1.0.12:80", "had sent it on to 10.1.0.12:80: does that one listen?"},
		},
		{
			name: "VIP missing on the director", lab: "nat",
			plant: func(s site) error {
				return s.link("director", "outside", func(h *netlink.Handle, l netlink.Link) error {
					return h.AddrDel(l, addr("10.0.0.100/32"))
				})
			},
			says: []string{"node director is not as planned:\ninterface outside: address 10.0.0.100/32 is missing"},
		},
		{
			name: "link down", lab: "nat",
			plant: func(s site) error {
				return s.link("rs3", "inside", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetDown(l) })
			},
			says: []string{"node rs3 is not as planned:\ninterface inside: up is false, planned true"},
		},
		{
			name: "no way to a real server", lab: "nat",
			plant: func(s site) error {
				return s.link("director", "inside", func(h *netlink.Handle, l netlink.Link) error {
					return h.RouteAdd(&netlink.Route{Dst: addr("10.1.0.12/32").IPNet, Type: unix.RTN_BLACKHOLE})
				})
			},
			says: []string{"the director sent connections on that rs2 did not accept"},
		},
		{
			name: "another machine behind a real server's address", lab: "nat",
			plant: func(s site) error {
				err := s.link("rs3", "inside", func(h *netlink.Handle, l netlink.Link) error { return h.AddrAdd(l, addr("10.1.0.12/32")) })
				return errors.Join(err, s.misdirect("director", "10.1.0.12", "rs3"))
			},
			says: []string{"two machines may own one address"},
		},
	}
}

// drDefects are those that direct routing is known for.
func drDefects() []defect {
	return []defect{
		{
			name: "a real server answers ARP for the VIP", lab: "dr",
			plant: func(s site) error {
				return s.sysctl("rs1", "net.ipv4.conf.all.arp_ignore", "0", "net.ipv4.conf.lan.arp_ignore", "0")
			},
			says: []string{"arp_ignore = 1 in node rs1, it is 0"},
		},
		{
			name: "traffic goes past the director", lab: "dr",
			plant: func(s site) error { return s.misdirect("client", "10.0.0.100", "rs1") },
			says:  []string{"expected the director to be asked for the VIP", "who answers ARP for 10.0.0.100"},
		},
		{
			name: "VIP missing on a real server", lab: "dr",
			plant: func(s site) error {
				return s.link("rs2", "lo", func(h *netlink.Handle, l netlink.Link) error { return h.AddrDel(l, addr("10.0.0.100/32")) })
			},
			says: []string{"node rs2 is not as planned:\ninterface lo: address 10.0.0.100/32 is missing"},
		},
		{
			name: "server listens on its own address only", lab: "dr",
			build: func(p *topology.Plan) {
				listenOn(p, "rs1", traffic.HTTP, netip.MustParseAddr("10.0.0.11"))
			},
			says: []string{"that rs1 did not accept: it does not listen", "had sent it on to 10.0.0.11:80: does that one listen?"},
		},
		{
			name: "wrong forwarding method for direct routing", lab: "dr",
			plant: func(s site) error { return s.edit("rs1", func(d *lb.Destination) { d.Forward = lb.NAT }) },
			says:  []string{"real server 10.0.0.11:80: forwarding method is nat, planned is dr"},
		},
	}
}

// tunDefects are those that tunnelling, and firewall marks, are known for.
func tunDefects() []defect {
	return []defect{
		{
			name: "rp_filter on a real server", lab: "tun",
			plant: func(s site) error {
				return s.sysctl("rs1", "net.ipv4.conf.all.rp_filter", "1", "net.ipv4.conf.tunl0.rp_filter", "1")
			},
			says: []string{"rp_filter = 0 in node rs1, it is 1"},
		},
		{
			name: "tunnel device down", lab: "tun",
			plant: func(s site) error {
				return s.link("rs2", "tunl0", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetDown(l) })
			},
			says: []string{"node rs2 is not as planned:\ninterface tunl0: up is false, planned true"},
		},
		{
			name: "no room for the outer header", lab: "tun",
			plant: func(s site) error {
				return s.link("rs1", "inside", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 1500) })
			},
			says: []string{"node rs1 is not as planned:\ninterface inside: MTU is 1500, planned 1600", "packets that fill the MTU are lost"},
		},
		{
			name: "a tunnel that takes no checksums", lab: "gre",
			build: func(p *topology.Plan) { tunnelOf(p, "rs2", topology.GREIface).Checksum = false },
			says:  []string{"the director sent connections on that rs2 did not accept", "came to nothing: no answer within"},
		},
		{
			name: "another kind of tunnel", lab: "gre",
			plant: func(s site) error {
				return s.edit("rs1", func(d *lb.Destination) { d.Tunnel = lb.Tunnel{} })
			},
			says: []string{"real server 10.0.0.11:80: tunnel is ipip, planned is gre"},
		},
		{
			name: "another port for GUE", lab: "gre",
			build: func(p *topology.Plan) { tunnelOf(p, "rs2", topology.GUEIface).Port = 6081 },
			says:  []string{"the director sent connections on that rs2 did not accept"},
		},
		{
			name: "packets not marked", lab: "mark",
			build: func(p *topology.Plan) { p.Services[0].Marks = nil },
			says:  []string{"port 8000 carries the mark 7"},
		},
		{
			name: "too few ports marked", lab: "mark",
			build: func(p *topology.Plan) { p.Services[0].Marks[0].Last = 8001 },
			says:  []string{"port 8002 carries the mark 7"},
		},
		{
			name: "director does not forward IPv6", lab: "mark",
			plant: func(s site) error { return s.sysctl("director", "net.ipv6.conf.all.forwarding", "0") },
			says:  []string{"expected net.ipv6.conf.all.forwarding = 1 in node director, it is 0"},
		},
	}
}

// witnessDefects are witnesses that don't tell the truth.
func witnessDefects() []defect {
	return []defect{
		{
			name: "two real servers under one identity", lab: "nat",
			build: func(p *topology.Plan) {
				for i := range p.Nodes {
					if n := &p.Nodes[i]; n.Name == "rs2" {
						n.Responders[0].Identity = "rs1"
					}
				}
			},
			says: []string{"two real servers may answer under one name"},
		},
		{
			name: "double counting", lab: "nat",
			plant: func(s site) error { return s.lie(twice) },
			says:  []string{"each connection is counted 2 times"},
		},
		{
			name: "an acceptance forgotten", lab: "nat",
			plant: func(s site) error { return s.lie(forget("rs3")) },
			says:  []string{"only the real servers' own count is off, for rs3"},
		},
		{
			name: "agent out of reach", lab: "nat",
			plant: func(s site) error { return os.Remove(filepath.Join(s.Dir(), "agent.sock")) },
			says:  []string{"ask the agent of lab"},
		},
		{
			name: "expectations that are wrong", lab: "expectations",
			fails:  []string{"wrong counts", "wrong sequence", "wrong outcome", "no answer wanted", "nobody there"},
			spares: []string{"right counts", "right sequence"},
		},
	}
}

// tunnelOf is a node's tunnel of a kind.
func tunnelOf(p *topology.Plan, node string, kind topology.InterfaceKind) *topology.Interface {
	n := &p.Nodes[slices.IndexFunc(p.Nodes, func(n topology.Node) bool { return n.Name == node })]
	return &n.Interfaces[slices.IndexFunc(n.Interfaces, func(i topology.Interface) bool { return i.Kind == kind })]
}

// listenOn binds a node's responders of a protocol to certain addresses.
func listenOn(p *topology.Plan, node, protocol string, addrs ...netip.Addr) {
	for i := range p.Nodes {
		if p.Nodes[i].Name != node {
			continue
		}
		for j := range p.Nodes[i].Responders {
			if r := &p.Nodes[i].Responders[j]; r.Protocol == protocol {
				r.Addrs = addrs
			}
		}
	}
}

// twice reports every acceptance two times.
func twice(path string, body []byte) ([]byte, error) {
	return retell(path, body, func(a traffic.Accepted) int { return 2 })
}

// forget leaves out what a node has accepted.
func forget(node string) func(string, []byte) ([]byte, error) {
	return func(path string, body []byte) ([]byte, error) {
		return retell(path, body, func(a traffic.Accepted) int {
			if a.Node == node {
				return 0
			}
			return 1
		})
	}
}

// retell repeats every acceptance as often as told.
func retell(path string, body []byte, times func(traffic.Accepted) int) ([]byte, error) {
	if path != "/accepted" {
		return body, nil
	}
	var log traffic.AcceptLog
	if err := json.Unmarshal(body, &log); err != nil {
		return nil, err
	}
	var told []traffic.Accepted
	for _, a := range log.Entries {
		told = append(told, slices.Repeat([]traffic.Accepted{a}, times(a))...)
	}
	log.Entries = told
	return json.Marshal(log)
}

// checkDefects are mistakes in a keepalived.conf that show when real servers fail.
func checkDefects() []defect {
	const spec = "web: real servers that stop answering"
	file := func(name string) func(*topology.Plan) {
		return func(p *topology.Plan) { p.Directors[0].Config = "testdata/defects/" + name }
	}
	return []defect{
		{name: "healthy checks", lab: "checked", focus: []string{spec}},
		{
			name: "another quorum", lab: "checked", build: file("quorum-mistyped.conf"), focus: []string{spec},
			says: []string{
				"with rs1 not answering, the table of director director is not what the checks lead to",
				"those that answer make 2; the quorum is 3, the hysteresis 1",
				"real server 10.1.0.12:80 is not planned", "real server 10.1.0.13:80 is missing",
			},
			fails: []string{spec},
		},
		{
			name: "a real server without a check", lab: "checked", build: file("quorum-unchecked.conf"), focus: []string{spec},
			says:  []string{"with rs2 not answering", "real server 10.1.0.12:80 is not planned"},
			fails: []string{spec},
		},
	}
}
