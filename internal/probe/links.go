package probe

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/kmod"
)

// checkLink makes a link of the type. It goes with the throw-away namespace:
// removing it here would wait for an RCU grace period, some 10 ms.
func checkLink(e *env, name, kind string) Feature {
	if kind == "fou" {
		return checkFOU(name)
	}
	link, module, err := newLink(kind)
	if err != nil {
		return unknown(name, err.Error())
	}
	h, err := e.handle()
	if err != nil {
		return unknown(name, err.Error())
	}
	switch err := h.LinkAdd(link); {
	case err == nil:
	case errors.Is(err, unix.EOPNOTSUPP):
		return no(name, "unknown link type", fmt.Sprintf(remedyModule, module))
	default:
		return unknown(name, fmt.Sprintf("make a link: %v", err))
	}
	made, err := h.LinkByName(link.Attrs().Name)
	if err != nil {
		return unknown(name, fmt.Sprintf("the link was made but can't be read back: %v", err))
	}
	if made.Type() != link.Type() {
		return no(name, fmt.Sprintf("the kernel made a %s instead", made.Type()), "")
	}
	return yes(name, "")
}

// newLink describes a link of the kind and names the module that has it.
func newLink(kind string) (link netlink.Link, module string, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe-" + kind
	v4, peer4 := net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2)
	v6, peer6 := net.ParseIP("2001:db8::1"), net.ParseIP("2001:db8::2")
	switch kind {
	case "veth":
		return &netlink.Veth{LinkAttrs: attrs, PeerName: "probe-peer"}, "veth", nil
	case "bridge":
		return &netlink.Bridge{LinkAttrs: attrs}, "bridge", nil
	case "dummy":
		return &netlink.Dummy{LinkAttrs: attrs}, "dummy", nil
	case "ipip":
		return &netlink.Iptun{LinkAttrs: attrs, Local: v4, Remote: peer4}, "ipip", nil
	case "sit":
		return &netlink.Sittun{LinkAttrs: attrs, Local: v4, Remote: peer4}, "sit", nil
	case "ip6tnl":
		return &netlink.Ip6tnl{LinkAttrs: attrs, Local: v6, Remote: peer6}, "ip6_tunnel", nil
	case "gre":
		return &netlink.Gretun{LinkAttrs: attrs, Local: v4, Remote: peer4}, "ip_gre", nil
	case "ip6gre":
		return &netlink.Gretun{LinkAttrs: attrs, Local: v6, Remote: peer6}, "ip6_gre", nil
	default:
		return nil, "", fmt.Errorf("no such link type is known")
	}
}

// checkFOU looks the family up: fou has no link type of its own, and the
// kernel does not look for it by itself.
func checkFOU(name string) Feature {
	if err := kmod.Ask("fou"); err != nil {
		return unknown(name, err.Error())
	}
	_, err := netlink.GenlFamilyGet("fou")
	switch {
	case err == nil:
		return yes(name, "")
	case errors.Is(err, unix.ENOENT):
		return no(name, "the kernel has no generic-netlink family fou", fmt.Sprintf(remedyModule, "fou"))
	default:
		return unknown(name, fmt.Sprintf("look up generic-netlink family fou: %v", err))
	}
}

// loopbackIndex is lo's index: the first link of every network namespace.
const loopbackIndex = 1

// checkQdisc puts the queueing discipline on the namespace's own lo.
func checkQdisc(e *env, name, kind string) Feature {
	if kind != "netem" {
		return unknown(name, "no such queueing discipline is known")
	}
	h, err := e.handle()
	if err != nil {
		return unknown(name, err.Error())
	}
	q := netlink.NewNetem(netlink.QdiscAttrs{
		LinkIndex: loopbackIndex, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	}, netlink.NetemQdiscAttrs{Latency: 1})
	return qdiscFeature(name, "sch_netem", h.QdiscAdd(q))
}

// checkSkbEdit sets a mark with clsact, matchall and skbedit: one of the ways
// to set a firewall mark.
func checkSkbEdit(e *env, name, _ string) Feature {
	h, err := e.handle()
	if err != nil {
		return unknown(name, err.Error())
	}
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: loopbackIndex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if f := qdiscFeature(name, "sch_ingress", h.QdiscAdd(clsact)); f.State != Yes {
		return f
	}
	mark := uint32(1)
	action := netlink.NewSkbEditAction()
	action.Mark = &mark
	filter := &netlink.MatchAll{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: loopbackIndex, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{action},
	}
	return qdiscFeature(name, "act_skbedit", h.FilterAdd(filter))
}

// qdiscFeature judges the answer to a traffic-control request: ENOENT is an
// unknown discipline, classifier or action.
func qdiscFeature(name, module string, err error) Feature {
	switch {
	case err == nil:
		return yes(name, "")
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return no(name, module+" not found", fmt.Sprintf(remedyModule, module))
	default:
		return unknown(name, fmt.Sprintf("try %s: %v", module, err))
	}
}
