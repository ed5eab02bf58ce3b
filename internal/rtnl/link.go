package rtnl

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// End is one end of a link: what one namespace sees of it.
type End struct {
	Name   string // at most 15 bytes
	Index  int    // chosen by the caller; it must be free in the namespace
	MAC    net.HardwareAddr
	MTU    int    // bytes; zero: the kernel's default
	Alias  string // free text that `ip link` shows; only SetLink writes it
	Up     bool
	Master int // index of a bridge in the same namespace; for a peer only SetLink sets it
}

// NewBridge makes a plain learning switch: no spanning tree, no multicast
// snooping (it would swallow groups that nobody has joined yet), and no calls
// into netfilter (net/bridge/br_netlink.c).
func NewBridge(e End) Request {
	req, info := newLink("bridge", e)
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
	data.AddRtAttr(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(0))
	data.AddRtAttr(nl.IFLA_BR_NF_CALL_IPTABLES, nl.Uint8Attr(0))
	data.AddRtAttr(nl.IFLA_BR_NF_CALL_IP6TABLES, nl.Uint8Attr(0))
	data.AddRtAttr(nl.IFLA_BR_NF_CALL_ARPTABLES, nl.Uint8Attr(0))
	req.AddData(info)
	return Request{What: "create bridge " + e.Name, msg: req}
}

// vethInfoPeer is VETH_INFO_PEER (include/uapi/linux/veth.h).
const vethInfoPeer = 1

// NewVeth makes a veth pair in one message: here in the connection's
// namespace, there in the namespace that the open file peerNS is. The kernel
// applies Master to here only (rtnl_newlink and veth_newlink).
func NewVeth(here, there End, peerNS int) Request {
	req, info := newLink("veth", here)
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	peer := data.AddRtAttr(vethInfoPeer, nil)
	peer.AddChild(infomsg(there))
	for _, a := range endAttrs(there) {
		peer.AddChild(a)
	}
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(peerNS)))
	req.AddData(info)
	return Request{What: fmt.Sprintf("create veth pair %s and %s", here.Name, there.Name), msg: req}
}

// NewDummy makes a dummy interface.
func NewDummy(e End) Request {
	req, info := newLink("dummy", e)
	req.AddData(info)
	return Request{What: "create dummy interface " + e.Name, msg: req}
}

// SetLink changes a link that exists: its MTU, MAC, alias and master if given, then up.
func SetLink(e End) Request {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	req.AddData(infomsg(e))
	for _, a := range endAttrs(End{MTU: e.MTU, MAC: e.MAC}) {
		req.AddData(a)
	}
	if e.Alias != "" {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(e.Alias)))
	}
	if e.Master != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(e.Master))))
	}
	return Request{What: "set up interface " + e.Name, msg: req}
}

func newLink(kind string, e End) (*nl.NetlinkRequest, *nl.RtAttr) {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(infomsg(e))
	for _, a := range endAttrs(e) {
		req.AddData(a)
	}
	if e.Master != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(e.Master))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	return req, info
}

func infomsg(e End) *nl.IfInfomsg {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(e.Index)
	if e.Up {
		msg.Flags = unix.IFF_UP
		msg.Change = unix.IFF_UP
	}
	return msg
}

func endAttrs(e End) []*nl.RtAttr {
	var attrs []*nl.RtAttr
	add := func(kind int, data []byte) { attrs = append(attrs, nl.NewRtAttr(kind, data)) }
	if e.Name != "" {
		add(unix.IFLA_IFNAME, nl.ZeroTerminated(e.Name))
		// One queue: a lab has no use for one per CPU, which is the default.
		add(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1))
		add(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1))
	}
	if len(e.MAC) > 0 {
		add(unix.IFLA_ADDRESS, e.MAC)
	}
	if e.MTU > 0 {
		add(unix.IFLA_MTU, nl.Uint32Attr(uint32(e.MTU)))
	}
	return attrs
}
