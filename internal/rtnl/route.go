package rtnl

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// AddAddress puts an address on the interface with that index. IPv6 addresses are
// usable at once: no duplicate address detection (RFC 4862, section 5.4). One
// without a network around it (/128, a VIP) is deprecated from the start, as
// keepalived adds it: RFC 6724 would else prefer it as the source of the node's
// own packets, and a real server drops a tunnel packet that comes from its VIP.
func AddAddress(name string, index int, p netip.Prefix) Request {
	return newAddress(unix.NLM_F_CREATE|unix.NLM_F_EXCL, name, index, p)
}

// PutAddress is AddAddress, but it is no failure if the interface has it already.
func PutAddress(name string, index int, p netip.Prefix) Request {
	return newAddress(unix.NLM_F_CREATE|unix.NLM_F_REPLACE, name, index, p)
}

// DeleteAddress takes an address off the interface with that index; the kernel
// says EADDRNOTAVAIL if it isn't there.
func DeleteAddress(name string, index int, p netip.Prefix) Request {
	req := nl.NewNetlinkRequest(unix.RTM_DELADDR, 0)
	addAddress(req, index, p)
	return Request{What: fmt.Sprintf("delete address %s of %s", p, name), msg: req}
}

func addAddress(req *nl.NetlinkRequest, index int, p netip.Prefix) {
	msg := nl.NewIfAddrmsg(family(p.Addr()))
	msg.Index = uint32(index)
	msg.Prefixlen = uint8(p.Bits())
	req.AddData(msg)
	addr := p.Addr().AsSlice()
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, addr))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, addr))
}

func newAddress(flags int, name string, index int, p netip.Prefix) Request {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, flags)
	addAddress(req, index, p)
	if p.Addr().Is6() {
		req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_NODAD)))
		if p.IsSingleIP() {
			req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, deprecated()))
		}
	}
	return Request{What: fmt.Sprintf("add address %s to %s", p, name), msg: req}
}

// deprecated is a struct ifa_cacheinfo (include/uapi/linux/if_addr.h) with a
// preferred lifetime of zero and an infinite valid one.
func deprecated() []byte {
	info := make([]byte, 16)
	copy(info[4:], nl.Uint32Attr(^uint32(0)))
	return info
}

// Route is a route to be added; see ip-route(8). Index is the device's, zero
// for none; Type is one of the keys of RouteTypes.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr
	Index  int
	Source netip.Addr
	Metric int
	MTU    int
	Table  int // zero: main
	Type   string
}

// RouteTypes are the types of routes (rtnetlink(7)) by ip-route(8)'s words for
// them; no word is unicast.
var RouteTypes = map[string]uint8{
	"": unix.RTN_UNICAST, "unicast": unix.RTN_UNICAST, "local": unix.RTN_LOCAL,
	"blackhole": unix.RTN_BLACKHOLE, "unreachable": unix.RTN_UNREACHABLE, "prohibit": unix.RTN_PROHIBIT,
}

// AddRoute adds a route; it fails if the same route exists.
func AddRoute(r Route) (Request, error) {
	what := fmt.Sprintf("add route to %s", r.To)
	if r.Via.IsValid() {
		what += fmt.Sprintf(" via %s", r.Via)
	}
	kind, ok := RouteTypes[r.Type]
	if !ok {
		return Request{}, fmt.Errorf("%s: unknown route type %q", what, r.Type)
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(routeHeader(r, kind))
	add := func(kind int, data []byte) { req.AddData(nl.NewRtAttr(kind, data)) }
	add(unix.RTA_TABLE, nl.Uint32Attr(uint32(Table(r.Table))))
	if r.To.Bits() > 0 {
		add(unix.RTA_DST, r.To.Masked().Addr().AsSlice())
	}
	switch {
	case !r.Via.IsValid():
	case family(r.Via) == family(r.To.Addr()):
		add(unix.RTA_GATEWAY, r.Via.AsSlice())
	default: // struct rtvia: a gateway of the other family
		add(unix.RTA_VIA, append(nl.Uint16Attr(uint16(family(r.Via))), r.Via.AsSlice()...))
	}
	if r.Index != 0 {
		add(unix.RTA_OIF, nl.Uint32Attr(uint32(r.Index)))
	}
	if r.Source.IsValid() {
		add(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	if r.Metric != 0 {
		add(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Metric)))
	}
	if r.MTU != 0 {
		metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
		metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(uint32(r.MTU)))
		req.AddData(metrics)
	}
	return Request{What: what, msg: req}, nil
}

func routeHeader(r Route, kind uint8) *nl.RtMsg {
	msg := nl.NewRtMsg()
	msg.Family = uint8(family(r.To.Addr()))
	msg.Dst_len = uint8(r.To.Bits())
	msg.Type = kind
	msg.Protocol = unix.RTPROT_STATIC
	switch { // as ip-route(8) chooses it
	case kind == unix.RTN_LOCAL:
		msg.Scope = unix.RT_SCOPE_HOST
	case kind == unix.RTN_UNICAST && !r.Via.IsValid():
		msg.Scope = unix.RT_SCOPE_LINK
	default:
		msg.Scope = unix.RT_SCOPE_UNIVERSE
	}
	return msg
}

// Rule is a policy routing rule; see ip-rule(8). The zero prefixes match everything.
type Rule struct {
	IPv6     bool
	Priority int
	From, To netip.Prefix
	IIF      string
	FWMark   uint32
	Table    int
}

// struct fib_rule_hdr is laid out as struct rtmsg is; the action takes the
// place of the type (include/uapi/linux/fib_rules.h).
const (
	ruleToTable  = 1  // FR_ACT_TO_TBL
	ruleIIFName  = 3  // FRA_IIFNAME
	rulePriority = 6  // FRA_PRIORITY
	ruleFWMark   = 10 // FRA_FWMARK
	ruleTable    = 15 // FRA_TABLE
)

// AddRule adds a policy routing rule.
func AddRule(r Rule) Request {
	req := nl.NewNetlinkRequest(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Type: ruleToTable}}
	if r.IPv6 {
		msg.Family = unix.AF_INET6
	}
	req.AddData(msg)
	add := func(kind int, data []byte) { req.AddData(nl.NewRtAttr(kind, data)) }
	if r.To.IsValid() {
		msg.Dst_len = uint8(r.To.Bits())
		add(unix.RTA_DST, r.To.Masked().Addr().AsSlice())
	}
	if r.From.IsValid() {
		msg.Src_len = uint8(r.From.Bits())
		add(unix.RTA_SRC, r.From.Masked().Addr().AsSlice())
	}
	if r.IIF != "" {
		add(ruleIIFName, nl.ZeroTerminated(r.IIF))
	}
	if r.Priority != 0 {
		add(rulePriority, nl.Uint32Attr(uint32(r.Priority)))
	}
	if r.FWMark != 0 {
		add(ruleFWMark, nl.Uint32Attr(r.FWMark))
	}
	add(ruleTable, nl.Uint32Attr(uint32(Table(r.Table))))
	return Request{What: fmt.Sprintf("add rule for table %d", Table(r.Table)), msg: req}
}

// Table is a routing table's number: zero stands for main.
func Table(t int) int {
	if t == 0 {
		return unix.RT_TABLE_MAIN
	}
	return t
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
