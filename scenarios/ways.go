package scenarios

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// ipv6Metric is what IPv6 routes have that were added without a metric
// (IP6_RT_PRIO_USER, include/net/ip6_route.h).
const ipv6Metric = 1024

// checkRoutes compares routes with the planned ones. Those that the kernel makes
// of addresses are its own.
func (st *nodeState) checkRoutes(planned []topology.Route) error {
	var wrong []error
	mine := make([]bool, len(st.routes))
	for _, want := range planned {
		i := slices.IndexFunc(st.routes, func(r netlink.Route) bool { return isRoute(r, want) })
		if i < 0 {
			wrong = append(wrong, fmt.Errorf("%s is missing in table %d", routeText(want), rtnl.Table(want.Table)))
			continue
		}
		mine[i] = true
		wrong = append(wrong, st.checkRoute(st.routes[i], want))
	}
	for i, r := range st.routes {
		own := r.Protocol == unix.RTPROT_KERNEL || r.Table == unix.RT_TABLE_LOCAL
		if !own && !mine[i] {
			wrong = append(wrong, fmt.Errorf("route %s was not planned", st.kernelRoute(r)))
		}
	}
	return errors.Join(wrong...)
}

// isRoute tells whether a route leads to where another is planned to, by the same way.
func isRoute(r netlink.Route, want topology.Route) bool {
	metric := want.Metric
	if metric == 0 && want.To.Addr().Is6() {
		metric = ipv6Metric
	}
	return r.Table == rtnl.Table(want.Table) && prefixOf(r.Dst) == want.To.Masked() && gatewayOf(r) == want.Via &&
		r.Priority == metric && r.Type == int(rtnl.RouteTypes[want.Type])
}

// checkRoute compares what does not make it another route.
func (st *nodeState) checkRoute(r netlink.Route, want topology.Route) error {
	var wrong []error
	add := func(what string, is, planned any) {
		wrong = append(wrong, fmt.Errorf("%s: %s is %v, planned %v", routeText(want), what, is, planned))
	}
	if is := st.linkName(r.LinkIndex); want.Device != "" && is != want.Device {
		add("device", is, want.Device)
	}
	if is, _ := netip.AddrFromSlice(r.Src); want.Source.IsValid() && is.Unmap() != want.Source {
		add("source", is.Unmap(), want.Source)
	}
	if r.MTU != want.MTU {
		add("MTU", r.MTU, want.MTU)
	}
	return errors.Join(wrong...)
}

// gatewayOf is a route's next hop, of either family.
func gatewayOf(r netlink.Route) netip.Addr {
	gw, _ := netip.AddrFromSlice(r.Gw)
	if via, ok := r.Via.(*netlink.Via); ok && via != nil {
		gw, _ = netip.AddrFromSlice(via.Addr)
	}
	return gw.Unmap()
}

func routeText(r topology.Route) string {
	text := fmt.Sprintf("route %s", r.To)
	if r.Via.IsValid() {
		text += " via " + r.Via.String()
	}
	return text
}

// kernelRoute is a route of the kernel's in the words of ip-route(8).
func (st *nodeState) kernelRoute(r netlink.Route) string {
	var b strings.Builder
	for word, kind := range rtnl.RouteTypes {
		if int(kind) == r.Type && kind != unix.RTN_UNICAST {
			b.WriteString(word + " ")
		}
	}
	b.WriteString(prefixOf(r.Dst).String())
	if gw := gatewayOf(r); gw.IsValid() {
		fmt.Fprintf(&b, " via %s", gw)
	}
	if name := st.linkName(r.LinkIndex); name != "" {
		fmt.Fprintf(&b, " dev %s", name)
	}
	for _, hop := range r.MultiPath {
		fmt.Fprintf(&b, " nexthop via %s dev %s", hop.Gw, st.linkName(hop.LinkIndex))
	}
	if r.Priority != 0 {
		fmt.Fprintf(&b, " metric %d", r.Priority)
	}
	fmt.Fprintf(&b, " in table %d", r.Table)
	return b.String()
}

func (st *nodeState) linkName(index int) string {
	for name, l := range st.links {
		if index != 0 && l.Attrs().Index == index {
			return name
		}
	}
	return ""
}

// kernelRules are the policy rules of every namespace (ip-rule(8)); IPv6 has no
// table 253.
var kernelRules = []topology.Rule{
	{Family: lb.IPv4, Table: unix.RT_TABLE_LOCAL},
	{Family: lb.IPv4, Priority: 32766, Table: unix.RT_TABLE_MAIN},
	{Family: lb.IPv4, Priority: 32767, Table: unix.RT_TABLE_DEFAULT},
	{Family: lb.IPv6, Table: unix.RT_TABLE_LOCAL},
	{Family: lb.IPv6, Priority: 32766, Table: unix.RT_TABLE_MAIN},
}

// checkRules compares policy rules with the planned ones and the kernel's own.
func (st *nodeState) checkRules(planned []topology.Rule) error {
	var wrong []error
	mine := make([]bool, len(st.rules))
	for _, want := range slices.Concat(kernelRules, planned) {
		if !slices.ContainsFunc(st.rules, func(r netlink.Rule) bool { return kernelRule(r).Family == want.Family }) {
			continue // a kernel without
		}
		i := slices.IndexFunc(st.rules, func(r netlink.Rule) bool { return isRule(r, want) })
		if i < 0 {
			wrong = append(wrong, fmt.Errorf("policy rule %s is missing", ruleText(want)))
			continue
		}
		mine[i] = true
	}
	for i, r := range st.rules {
		if !mine[i] {
			wrong = append(wrong, fmt.Errorf("policy rule %s was not planned", kernelRuleText(r)))
		}
	}
	return errors.Join(wrong...)
}

// isRule compares rules; where no priority is planned, the kernel chooses one.
func isRule(r netlink.Rule, want topology.Rule) bool {
	have := kernelRule(r)
	if want.Priority == 0 && want.Table != unix.RT_TABLE_LOCAL {
		have.Priority = 0
	}
	want.Origin, want.Table = have.Origin, rtnl.Table(want.Table)
	want.From, want.To = narrowed(want.From), narrowed(want.To)
	return have == want && r.Goto < 0 && selectsMore(r) == ""
}

// narrowed is a prefix as the kernel tells it: none, if it is all addresses.
func narrowed(p netip.Prefix) netip.Prefix {
	if p.Bits() <= 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

func kernelRule(r netlink.Rule) topology.Rule {
	rule := topology.Rule{
		Family: lb.IPv4, Priority: r.Priority, From: rulePrefix(r.Src), To: rulePrefix(r.Dst),
		IIF: r.IifName, FWMark: r.Mark, Table: r.Table,
	}
	if r.Family == unix.AF_INET6 {
		rule.Family = lb.IPv6
	}
	return rule
}

func rulePrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	return prefixOf(n)
}

func ruleText(r topology.Rule) string {
	return fmt.Sprintf("%s lookup %d (IPv%d)", selects(r), rtnl.Table(r.Table), r.Family)
}

// selects is what packets a rule is for, after its priority.
func selects(r topology.Rule) string {
	text := fmt.Sprintf("%d: from all", r.Priority)
	if r.From.IsValid() {
		text = fmt.Sprintf("%d: from %s", r.Priority, r.From)
	}
	if r.To.IsValid() {
		text += " to " + r.To.String()
	}
	if r.IIF != "" {
		text += " iif " + r.IIF
	}
	if r.FWMark != 0 {
		text += fmt.Sprintf(" fwmark %#x", r.FWMark)
	}
	return text
}

// kernelRuleText is a rule of the kernel's in the words of ip-rule(8).
func kernelRuleText(r netlink.Rule) string {
	rule := kernelRule(r)
	action := fmt.Sprintf("lookup %d", r.Table)
	switch {
	case r.Goto >= 0:
		action = fmt.Sprintf("goto %d", r.Goto)
	case r.Table == unix.RT_TABLE_UNSPEC:
		// Which of them, package netlink does not tell.
		action = "blackhole, unreachable, prohibit or nop: ip rule tells"
	}
	return fmt.Sprintf("%s%s %s (IPv%d)", selects(rule), selectsMore(r), action, rule.Family)
}

// selectsMore is what no planned rule has.
func selectsMore(r netlink.Rule) string {
	var b strings.Builder
	add := func(is bool, format string, args ...any) {
		if is {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	add(r.Invert, "(but not these)")
	add(r.OifName != "", "oif %s", r.OifName)
	add(r.Tos != 0, "tos %#x", r.Tos)
	add(r.TunID != 0, "tun_id %d", r.TunID)
	add(r.IPProto > 0, "ipproto %d", r.IPProto)
	add(r.SuppressPrefixlen >= 0, "suppress_prefixlength %d", r.SuppressPrefixlen)
	add(r.SuppressIfgroup >= 0, "suppress_ifgroup %d", r.SuppressIfgroup)
	if m := r.Mask; m != nil { // told with a mark of zero, too: packets that have none of the mask's bits
		add(r.Mark == 0 || *m != math.MaxUint32, "with mask %#x", *m)
	}
	if u := r.UIDRange; u != nil {
		add(true, "uidrange %d-%d", u.Start, u.End)
	}
	add(r.Sport != nil, "sport %s", portsOf(r.Sport))
	add(r.Dport != nil, "dport %s", portsOf(r.Dport))
	return b.String()
}

func portsOf(r *netlink.RulePortRange) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%d-%d", r.Start, r.End)
}

// excuseWays makes of routes, rules and the rest those that are planned: where
// programs of the user's run, others may be theirs.
func (st *nodeState) excuseWays(n *topology.Node) {
	st.routes = slices.DeleteFunc(st.routes, func(r netlink.Route) bool {
		return !slices.ContainsFunc(n.Routes, func(want topology.Route) bool { return isRoute(r, want) })
	})
	st.rules = slices.DeleteFunc(st.rules, func(r netlink.Rule) bool {
		return !slices.ContainsFunc(slices.Concat(kernelRules, n.Rules), func(want topology.Rule) bool { return isRule(r, want) })
	})
	st.neighbours, st.disciplines = nil, nil
}

// checkMeddling names what keeps packets from their way that no plan can ask for.
func (st *nodeState) checkMeddling() error {
	var wrong []error
	for _, n := range st.neighbours {
		wrong = append(wrong, fmt.Errorf("interface %s: somebody has set %s's hardware address to %s for good; ip neigh del %s dev %s",
			st.linkName(n.LinkIndex), n.IP, n.HardwareAddr, n.IP, st.linkName(n.LinkIndex)))
	}
	for _, q := range st.disciplines {
		wrong = append(wrong, fmt.Errorf("interface %s: queueing discipline %s was not planned, which may lose, delay or double packets; tc -s qdisc show dev %s",
			st.linkName(q.Attrs().LinkIndex), q.Type(), st.linkName(q.Attrs().LinkIndex)))
	}
	return errors.Join(wrong...)
}

// fateful are the queueing disciplines that do more to packets than to send
// them: a kernel, or its administrator, may choose another of the rest.
var fateful = []string{"netem", "tbf", "htb", "hfsc", "cbq", "blackhole", "red", "sfb", "prio"}

// readMeddling reads what checkMeddling looks at.
func (st *nodeState) readMeddling(h *netlink.Handle) error {
	neighbours, err := rtnl.Retry(func() ([]netlink.Neigh, error) { return h.NeighList(0, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	st.neighbours = slices.DeleteFunc(neighbours, func(n netlink.Neigh) bool { return n.State&netlink.NUD_PERMANENT == 0 })
	disciplines, err := rtnl.Retry(func() ([]netlink.Qdisc, error) { return h.QdiscList(nil) })
	if err != nil {
		return err
	}
	st.disciplines = slices.DeleteFunc(disciplines, func(q netlink.Qdisc) bool { return !slices.Contains(fateful, q.Type()) })
	return nil
}

// readRules reads the policy rules of both families; a kernel may lack either.
func (st *nodeState) readRules(h *netlink.Handle) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := rtnl.Retry(func() ([]netlink.Rule, error) { return h.RuleList(family) })
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		st.rules = append(st.rules, rules...)
	}
	return nil
}
