package topology

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
)

// inherit is the file's word for a setting that is not to be pinned.
const inherit = "inherit"

// pins collects a node's settings in order of writing; a later one replaces an
// earlier one in its place.
type pins struct {
	list  []Sysctl
	index map[string]int
}

func (s *pins) set(key, value, why string) {
	s.add(Sysctl{Key: key, Value: value, Origin: Origin(why)})
}

func (s *pins) add(c Sysctl) {
	if i, ok := s.index[c.Key]; ok {
		s.list[i] = c
		return
	}
	s.index[c.Key] = len(s.list)
	s.list = append(s.list, c)
}

// fillSysctls pins every setting that a balanced packet depends on: a new
// namespace takes over net.ipv4.conf from the host (devinet_init_net in
// net/ipv4/devinet.c), and the same lab must behave the same on any host.
func (p *planner) fillSysctls() {
	for _, n := range p.nodes {
		s := &pins{index: map[string]int{}}
		p.pinIPv4(s, n)
		p.pinIPv6(s, n)
		p.pinARP(s, n)
		p.pinTunnels(s, n)
		p.pinDirector(s, n)
		p.pinChecks(s, n)
		p.pinSync(s, n)
		p.overrideSysctls(s, n)
		n.Sysctls = s.list
	}
}

// confs are the names under net.ipv4.conf for a node: for most settings the
// kernel takes the greater of all and the interface's own, so both are pinned.
func confs(n *Node) []string {
	names := []string{"all", "default"}
	for _, itf := range n.Interfaces {
		names = append(names, sysctlName(itf.Name))
	}
	return names
}

// sysctlName writes an interface's name as a part of a sysctl key.
func sysctlName(link string) string { return strings.ReplaceAll(link, ".", "/") }

const pinned = "lab: pinned, never the host's"

func (p *planner) pinIPv4(s *pins, n *node) {
	forward, why := "0", pinned
	if p.forwards(n, false) {
		forward, why = "1", "role "+string(n.Role)+": forwards packets"
	}
	// First, for writing it changes accept_redirects (inet_forward_change).
	s.set("net.ipv4.ip_forward", forward, why)
	for _, c := range confs(n.Node) {
		conf := "net.ipv4.conf." + c + "."
		s.set(conf+"rp_filter", "0", pinned)
		s.set(conf+"arp_ignore", "0", pinned)
		s.set(conf+"arp_announce", "0", pinned)
		s.set(conf+"arp_filter", "0", pinned)
		s.set(conf+"accept_redirects", "0", pinned)
		s.set(conf+"send_redirects", "0", pinned)
		if c != "all" { // that is ip_forward itself
			s.set(conf+"forwarding", forward, why)
		}
		if forward == "1" {
			s.set(conf+"proxy_arp", "0", pinned) // only a forwarding node answers by proxy
		}
	}
	s.set("net.ipv4.ip_local_port_range", "32768 60999", pinned)
	// A refused connection is an ICMP error; the limit (one a second to the
	// same client) would make a time-out of most of them.
	s.set("net.ipv4.icmp_ratelimit", "0", pinned)
}

// pinIPv6 turns IPv6 off where the file has none of it, so that no
// autoconfiguration disturbs counters and captures.
func (p *planner) pinIPv6(s *pins, n *node) {
	if !usesIPv6(n.Node) {
		s.set("net.ipv6.conf.all.disable_ipv6", "1", "lab: the node has no IPv6 address")
		s.set("net.ipv6.conf.default.disable_ipv6", "1", "lab: the node has no IPv6 address")
		return
	}
	s.set("net.ipv6.conf.all.disable_ipv6", "0", pinned)
	s.set("net.ipv6.conf.default.disable_ipv6", "0", pinned)
	forward, why := "0", pinned
	if p.forwards(n, true) {
		forward, why = "1", "role "+string(n.Role)+": forwards packets"
	}
	s.set("net.ipv6.conf.all.forwarding", forward, why)
	for _, c := range confs(n.Node) {
		conf := "net.ipv6.conf." + c + "."
		s.set(conf+"disable_ipv6", "0", pinned)
		s.set(conf+"forwarding", forward, why)
		s.set(conf+"accept_ra", "0", pinned)
		s.set(conf+"accept_redirects", "0", pinned)
		// Addresses work at once, without duplicate address detection.
		s.set(conf+"accept_dad", "0", pinned)
		s.set(conf+"dad_transmits", "0", pinned)
	}
	s.set("net.ipv6.icmp.ratelimit", "0", pinned)
}

func usesIPv6(n *Node) bool {
	is6 := func(a Address) bool { return a.Prefix.Addr().Is6() }
	if slices.ContainsFunc(n.Loopback, is6) {
		return true
	}
	return slices.ContainsFunc(n.Interfaces, func(i Interface) bool {
		return slices.ContainsFunc(i.Addresses, is6) || i.Local.Is6() || i.Kind == IP6Iface || i.Kind == SITIface
	})
}

// pinARP keeps a real server from answering ARP for the VIP it has on lo or a
// tunnel (Documentation/networking/ip-sysctl.rst, arp_ignore and arp_announce).
func (p *planner) pinARP(s *pins, n *node) {
	if !sharesVIP(n, netip.Addr.Is4) || !on(n.spec.Defaults.ARP) || n.Role == NoRole {
		return
	}
	const why = "role realserver: the director alone answers ARP for the VIP"
	for _, c := range confs(n.Node) {
		s.set("net.ipv4.conf."+c+".arp_ignore", "1", why)
		s.set("net.ipv4.conf."+c+".arp_announce", "2", why)
	}
}

// sharesVIP tells whether a node is a real server, by DR or TUN, for a VIP of
// a family that it does not carry itself.
func sharesVIP(n *node, family func(netip.Addr) bool) bool {
	for _, d := range n.serves {
		if d.Forward == lb.NAT || slices.Contains(d.svc.directors, n) {
			continue
		}
		if slices.ContainsFunc(d.svc.vips, family) {
			return true
		}
	}
	return false
}

func (p *planner) pinTunnels(s *pins, n *node) {
	const why = "role realserver: the inner packet comes in by the tunnel, its answer leaves elsewhere"
	for _, itf := range n.Interfaces {
		if itf.Origin != "" {
			s.set("net.ipv4.conf."+sysctlName(itf.Name)+".rp_filter", "0", why)
			s.set("net.ipv4.conf.all.rp_filter", "0", why)
		}
	}
}

// vsDefaults are the kernel's own defaults of net.ipv4.vs
// (Documentation/networking/ipvs-sysctl.rst). Those whose default depends on
// the machine (memory, processors) are left to the kernel.
var vsDefaults = []struct{ key, value string }{
	{"am_droprate", "10"},
	{"amemthresh", "1024"},
	{"backup_only", "0"},
	{"cache_bypass", "0"},
	{"conn_reuse_mode", "1"},
	{"conntrack", "0"},
	{"drop_entry", "0"},
	{"drop_packet", "0"},
	{"expire_nodest_conn", "0"},
	{"expire_quiescent_template", "0"},
	{"ignore_tunneled", "0"},
	{"nat_icmp_send", "0"},
	{"pmtu_disc", "1"},
	{"run_estimation", "1"},
	{"schedule_icmp", "0"},
	{"secure_tcp", "0"},
	{"sloppy_tcp", "0"},
	{"sloppy_sctp", "0"},
	{"snat_reroute", "1"},
}

// pinDirector pins what IPVS itself asks. Its defaults are per namespace, so
// on a director without a service they may be missing altogether.
func (p *planner) pinDirector(s *pins, n *node) {
	if n.Role != Director && len(n.carries) == 0 {
		return
	}
	for _, d := range vsDefaults {
		missing := len(n.carries) == 0 || d.key == "run_estimation" // which is the youngest
		s.add(Sysctl{Key: vsPrefix + d.key, Value: d.value, Origin: "role director: the kernel's default", Optional: missing})
	}
}

// pinChecks lets a director take the answers of real servers that it checks at
// the VIP, which is its own address as well (ip-sysctl.rst, accept_local).
func (p *planner) pinChecks(s *pins, n *node) {
	d := p.plan.DirectorOf(n.Name)
	if d == nil || d.Kind != Embedded {
		return
	}
	for _, c := range n.carries {
		h := c.Health()
		for i, dest := range c.dests {
			asks := slices.ContainsFunc(h.Checks(i), func(c *health.Check) bool { return c.Kind != health.Command })
			if asks && c.Spec.Family == lb.IPv4 && dest.Forward != lb.NAT {
				s.set("net.ipv4.conf.all.accept_local", "1", "role director: checks of service "+c.Name+" are answered from the VIP")
				return
			}
		}
	}
}

// pinSync pins when the kernel synchronises a connection, on the directors of
// a group that does (Documentation/networking/ipvs-sysctl.rst, sync_threshold).
func (p *planner) pinSync(s *pins, n *node) {
	for _, g := range p.groupsOf(n) {
		if g.Sync == nil {
			continue
		}
		threshold, period := g.spec.Sync.thresholds()
		why := "group " + g.Name + ": when a connection is synchronised"
		s.set("net.ipv4.vs.sync_threshold", itoa(threshold)+" "+itoa(period), why)
	}
}

// overrideSysctls puts the file's own settings in, and takes off what it wants inherited.
func (p *planner) overrideSysctls(s *pins, n *node) {
	drop := map[string]bool{}
	for _, e := range n.spec.Sysctls {
		if string(e.Value) == inherit {
			drop[e.Key] = true
			continue
		}
		s.add(Sysctl{Key: e.Key, Value: string(e.Value)})
	}
	s.list = slices.DeleteFunc(s.list, func(c Sysctl) bool { return drop[c.Key] })
}
