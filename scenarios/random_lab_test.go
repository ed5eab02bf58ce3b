package scenarios_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/lb/oracle"
)

// sketch is a random lab in the making:
//
//	out 10.60.0.0/24, fd00:1::/64   clients, directors, real servers for dr and (in a mixed lab) tun
//	in  10.61.0.0/24, fd00:2::/64   directors, real servers for nat, or for tun behind a router
//	far 10.62.0.0/24, fd00:3::/64   perhaps: a client behind a router
//
// Real servers are one director's alone: with NAT their way back leads through it.
type sketch struct {
	*rand.Rand
	strings.Builder
	kind      string // nat, dr, tun or mixed
	directors int
	servers   int // of each director
	names     func(kind string, n int) string
	sctp      bool
	gre       string // a receiver takes them with checksums or without
	scenarios []string
}

func randomLab(r *rand.Rand, name string, sctp bool) string {
	s := &sketch{
		Rand: r, kind: pick(r, "nat", "dr", "tun", "mixed"), directors: 1 + r.IntN(3), servers: 1 + r.IntN(6), sctp: sctp,
	}
	s.names = pick(r,
		func(kind string, n int) string { return fmt.Sprintf("%s%d", kind, n) },
		func(kind string, n int) string { return fmt.Sprintf("%s_%d", strings.ToUpper(kind), n) },
		func(kind string, n int) string { return fmt.Sprintf("%d--%s-with-a-quite-long-name-", n, kind) },
	)
	s.gre = pick(r, ", tunnel: gre", ", tunnel: {type: gre, checksum: csum}")
	s.line("apiVersion: ipvslab/v1\nname: %s\nallow: [persistence-skew, tun-mtu]\nnetworks:", name)
	s.line("  out: [10.60.0.0/24, \"fd00:1::/64\"]")
	if s.kind != "dr" {
		s.line("  in: {prefixes: [10.61.0.0/24, \"fd00:2::/64\"], mtu: 1600}")
	}
	far := s.kind == "dr" && s.IntN(2) == 0
	if far {
		s.line("  far: [10.62.0.0/24, \"fd00:3::/64\"]")
	}
	s.nodes(far)
	s.line("services:")
	for d := range s.directors {
		for i := range s.IntN(3) {
			s.service(d, i)
		}
	}
	s.service(0, 3)
	if len(s.scenarios) > 0 {
		s.line("scenarios:\n%s", strings.Join(s.scenarios, "\n"))
	}
	return s.String()
}

func (s *sketch) nodes(far bool) {
	s.line("nodes:")
	if far {
		s.line("  gate: {role: router, interfaces: {out: %s, far: %s}}", addrs("out", 2), addrs("far", 1))
		s.line("  %s: {role: client, interfaces: {far: %s}}", s.names("client", 0), addrs("far", 5, 6))
	} else {
		s.line("  %s: {role: client, interfaces: {out: %s}}", s.names("client", 0), addrs("out", 200, 210))
	}
	if s.IntN(2) == 0 {
		s.line("  %s: {role: client, interfaces: {out: %s}}", s.names("client", 1), addrs("out", 201))
	}
	if s.kind == "tun" {
		s.line("  way: {role: router, interfaces: {out: %s, in: %s}}", addrs("out", 1), addrs("in", 1))
	}
	for d := range s.directors {
		ports := "out: " + addrs("out", 10+d)
		if s.kind != "dr" {
			ports += ", in: " + addrs("in", 10+d)
		}
		s.line("  %s: {role: director, interfaces: {%s}%s}", s.names("director", d), ports, s.sysctls())
		for i := range s.servers {
			net := "in"
			if s.outside(i) {
				net = "out"
			}
			s.line("  %s: {role: realserver, interfaces: {%s: %s}}", s.server(d, i), net, addrs(net, 20+20*d+i))
		}
	}
}

// sysctls are settings that must not show in what is expected of a healthy lab.
func (s *sketch) sysctls() string {
	var some []string
	for _, setting := range []string{
		"conn_reuse_mode: 2", "expire_nodest_conn: 1", "expire_quiescent_template: 1", "sloppy_tcp: 1", "sloppy_sctp: 1",
		"conntrack: 1", "snat_reroute: 0", "schedule_icmp: 1", "nat_icmp_send: 1",
	} {
		if s.IntN(8) == 0 {
			some = append(some, "net.ipv4.vs."+setting)
		}
	}
	if some == nil {
		return ""
	}
	return ", sysctls: {" + strings.Join(some, ", ") + "}"
}

// outside: a director's i-th real server is on the clients' network.
func (s *sketch) outside(i int) bool { return s.kind == "dr" || s.kind == "mixed" && i%2 == 0 }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (s *sketch) server(d, i int) string { return s.names("rs", 10*d+i) }

func (s *sketch) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// addrs is a list of a node's addresses on a network, of both families.
func addrs(net string, hosts ...int) string {
	var list []string
	for _, h := range hosts {
		list = append(list, addrOf(net, h, false), fmt.Sprintf("%q", addrOf(net, h, true)))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func addrOf(net string, host int, v6 bool) string {
	n := map[string]int{"out": 0, "in": 1, "far": 2}[net]
	if v6 {
		return fmt.Sprintf("fd00:%d::%x", n+1, host)
	}
	return fmt.Sprintf("10.%d.0.%d", 60+n, host)
}

// service writes one of a director's services, each on a VIP of its own.
func (s *sketch) service(d, i int) {
	scheduler := "twos" // of which nothing can be predicted
	for scheduler == "twos" {
		scheduler = pick(s.Rand, oracle.Schedulers()...)
	}
	v6 := s.IntN(3) == 0
	protocol := pick(s.Rand, "tcp", "tcp", "tcp", "udp", "sctp")
	if protocol == "sctp" && !s.sctp {
		protocol = "tcp"
	}
	servers, forwarding := s.realServers(protocol)
	name := fmt.Sprintf("s%d%d", d, i)
	s.line("  %s:\n    scheduler: %s\n    directors: %s\n    forwarding: %s", name, scheduler, s.names("director", d), forwarding)
	vip, port := addrOf("out", 100+10*d+i, v6), 80+s.IntN(3)
	sticky, marked := s.IntN(5) == 0, s.IntN(5) == 0
	if marked {
		s.line("    fwmark: %d\n    marks: [{vip: %q, protocol: %s, ports: %d-%d}]", pick(s.Rand, 0, 1<<20, 1<<31)+1+10*d+i, vip, protocol, port, port+s.IntN(4))
	} else {
		s.line("    vip: %q\n    port: %d\n    protocol: %s", vip, port, protocol)
	}
	if protocol == "udp" && !marked && !sticky && forwarding != "nat" && !slices.Contains(servers, 1) && s.IntN(2) == 0 {
		s.line("    onePacket: true")
	}
	if sticky {
		masks := []int{32, 24, 8}
		if v6 {
			masks = []int{128, 64, 48}
		}
		s.line("    persistence: {timeout: 60s, mask: %d}", pick(s.Rand, masks...))
	}
	if flags, ok := map[string]string{"sh": "sh-fallback, sh-port", "mh": "mh-fallback, mh-port"}[scheduler]; ok && s.IntN(2) == 0 {
		s.line("    flags: [%s]", flags)
	}
	bounded, drained := s.destinations(d, servers, forwarding, v6, marked)
	hashed := scheduler == "dh" || scheduler == "sh" // which may lead to one that is drained
	if !bounded && !(hashed && drained) {
		s.scenario(name, scheduler, protocol, v6)
	}
}

// realServers picks which of a director's real servers a service has, and how
// it reaches them.
func (s *sketch) realServers(protocol string) (servers []int, forwarding string) {
	forwarding = s.kind
	if s.kind == "mixed" {
		forwarding = pick(s.Rand, "nat", "dr", "tun", "each")
	}
	for i := range s.servers {
		if s.kind != "mixed" || forwarding == "each" || s.outside(i) == (forwarding != "nat") {
			servers = append(servers, i)
		}
	}
	if len(servers) == 0 { // nat, with a single server that is outside
		servers, forwarding = []int{0}, "dr"
	}
	if forwarding == "each" { // nat but for those that say dr
		forwarding = "nat"
	}
	return servers, forwarding
}

func (s *sketch) destinations(d int, servers []int, forwarding string, v6, marked bool) (bounded, drained bool) {
	s.line("    realServers:")
	heavy, unit := pick(s.Rand, servers...), pick(s.Rand, 1, 1, 100)
	translate := forwarding == "nat" && !marked && s.IntN(3) == 0 && s.kind == "nat"
	for _, i := range servers {
		weight := s.IntN(6)
		if i == heavy {
			weight = 1 + s.IntN(9)
		}
		drained = drained || weight == 0
		details := fmt.Sprintf("weight: %d", weight*unit)
		switch {
		case forwarding == "tun":
			details += pick(s.Rand, "", s.gre, s.gre, ", tunnel: {type: gue, port: 6080}", ", tunnel: {type: gue, port: 6080, checksum: csum}")
			if v6 && s.IntN(3) == 0 {
				net := "in"
				if s.outside(i) {
					net = "out"
				}
				details += ", address: " + addrOf(net, 20+20*d+i, false)
			}
		case forwarding == "nat" && s.outside(i):
			details += ", forwarding: dr"
		case translate:
			details += fmt.Sprintf(", port: %d", 8000+i)
		}
		if s.IntN(8) == 0 {
			bounded = true
			upper := 2 + s.IntN(4)
			details += fmt.Sprintf(", upper: %d, lower: %d", upper, s.IntN(upper))
		}
		s.line("      %s: {%s}", s.server(d, i), details)
	}
	return bounded, drained
}

// scenario expects of a service's connections that they go where they must,
// from both of the first client's addresses.
func (s *sketch) scenario(service, scheduler, protocol string, v6 bool) {
	if s.IntN(3) > 0 {
		return
	}
	n, held := 4+s.IntN(20), protocol == "tcp" && s.IntN(2) == 0
	if scheduler == "ovf" && (held || protocol == "udp") {
		return // which refuses those that stay beyond the weights
	}
	net, hosts := "out", []int{200, 210}
	if strings.Contains(s.String(), "  gate:") {
		net, hosts = "far", []int{5, 6}
	}
	s.scenarios = append(s.scenarios, fmt.Sprintf(
		"  visits to %s: {service: %s, traffic: {connections: %d, hold: %t, sources: [%q, %q]}, expect: predicted}",
		service, service, n, held, addrOf(net, hosts[0], v6), addrOf(net, hosts[1], v6)))
}
