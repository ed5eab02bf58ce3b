// Package lb describes what an IPVS director does as plain values: virtual
// services and their destinations, the difference between two such
// descriptions, and a Controller that makes a kernel's table equal to one.
//
// The package is pure: it imports no netlink, no namespace and no topology
// code. The real kernel is reached through [Table], which lb/ipvs implements.
package lb

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Protocol is an IP protocol number, as in /etc/protocols.
type Protocol uint8

// The protocols that IPVS balances (net/netfilter/ipvs/ip_vs_proto.c).
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String gives ipvsadm's word for the protocol, in lower case.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return "proto" + strconv.Itoa(int(p))
}

// Family is the address family of a service: 4 or 6.
type Family uint8

// The two families IPVS knows.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Key identifies a virtual service in a table. It is either an address, a port
// and a protocol, or a firewall mark with a family; it is comparable.
type Key struct {
	Protocol Protocol   `json:"protocol,omitempty"` // zero for a firewall mark
	Addr     netip.Addr `json:"addr,omitzero"`      // the VIP; the zero Addr for a firewall mark
	Port     uint16     `json:"port,omitempty"`     // zero: every port (needs persistence)
	FWMark   uint32     `json:"fwmark,omitempty"`   // zero: the service is named by address and port
	Family   Family     `json:"family"`             // always set, also for an address
}

// AddrKey names the service at vip:port.
func AddrKey(p Protocol, vip netip.Addr, port uint16) Key {
	return Key{Protocol: p, Addr: vip.Unmap(), Port: port, Family: FamilyOf(vip)}
}

// MarkKey names the service of packets that carry a firewall mark.
func MarkKey(mark uint32, f Family) Key { return Key{FWMark: mark, Family: f} }

// FamilyOf tells an address's family; an IPv4-mapped IPv6 address is IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// String is the key as ipvsadm's options would name it, such as
// "tcp 192.168.1.117:80" or "fwmark 7 (IPv6)".
func (k Key) String() string {
	if k.FWMark != 0 {
		if k.Family == IPv6 {
			return fmt.Sprintf("fwmark %d (IPv6)", k.FWMark)
		}
		return fmt.Sprintf("fwmark %d", k.FWMark)
	}
	return k.Protocol.String() + " " + netip.AddrPortFrom(k.Addr, k.Port).String()
}

// Flags are a service's IP_VS_SVC_F_* bits (include/uapi/linux/ip_vs.h).
// Persistence (bit 0x1) and the hashed bit (0x2) are not among them: the first
// follows from [Service.Timeout], the second is the kernel's own.
type Flags uint32

// The flags that a user can set.
const (
	OnePacket Flags = 0x0004 // ipvsadm -o, UDP only
	Sched1    Flags = 0x0008 // sh-fallback, mh-fallback
	Sched2    Flags = 0x0010 // sh-port, mh-port
	Sched3    Flags = 0x0020
)

// Service is one virtual service with its destinations, in the order in which
// they are to be added (the kernel lists them newest first).
type Service struct {
	Key
	Scheduler    string        `json:"scheduler"` // "rr", "wrr", ...
	Flags        Flags         `json:"flags,omitempty"`
	Timeout      time.Duration `json:"timeout,omitempty"`  // persistence; zero: none. Whole seconds.
	MaskBits     uint8         `json:"maskBits,omitempty"` // persistence granularity as a prefix length; zero: one address (32 or 128)
	OddMask      netip.Addr    `json:"oddMask,omitzero"`   // IPv4 persistence mask that is no prefix, such as 0.0.0.0 or 255.0.255.0; MaskBits is then zero
	Engine       string        `json:"engine,omitempty"`   // persistence engine, "" or "sip"
	Destinations []Destination `json:"destinations"`
	Counters     Counters      `json:"counters,omitzero"` // read from a kernel; ignored when written
}

// Forward is a forwarding method (IP_VS_CONN_F_FWD_MASK).
type Forward uint8

// The forwarding methods, in the kernel's numbering.
const (
	NAT   Forward = 0 // masquerading, ipvsadm -m
	Local Forward = 1 // the director itself; chosen by the kernel
	TUN   Forward = 2 // IP tunnelling, ipvsadm -i
	DR    Forward = 3 // direct routing, ipvsadm -g
)

// String gives the word that ipvsadm prints: Masq, Local, Tunnel or Route.
func (f Forward) String() string {
	switch f {
	case NAT:
		return "Masq"
	case Local:
		return "Local"
	case TUN:
		return "Tunnel"
	case DR:
		return "Route"
	}
	return "Forward(" + strconv.Itoa(int(f)) + ")"
}

// TunnelType is the encapsulation of a TUN destination (IP_VS_CONN_F_TUNNEL_TYPE_*).
type TunnelType uint8

// The encapsulations.
const (
	IPIP TunnelType = 0
	GUE  TunnelType = 1
	GRE  TunnelType = 2
)

// Tunnel says how packets for a TUN destination are wrapped. The zero value is IPIP.
type Tunnel struct {
	Type  TunnelType `json:"type"`
	Port  uint16     `json:"port,omitempty"`  // GUE only
	Flags uint16     `json:"flags,omitempty"` // IP_VS_TUNNEL_ENCAP_FLAG_*
}

// String is the encapsulation in words, such as "gue to port 6080 with checksum".
func (t Tunnel) String() string {
	text := map[TunnelType]string{IPIP: "ipip", GUE: "gue", GRE: "gre"}[t.Type]
	if text == "" {
		text = fmt.Sprintf("TunnelType(%d)", t.Type)
	}
	if t.Port != 0 {
		text += fmt.Sprintf(" to port %d", t.Port)
	}
	switch t.Flags {
	case 0:
	case 1:
		text += " with checksum"
	case 2:
		text += " with remote checksum"
	default:
		text += fmt.Sprintf(" with flags %#x", t.Flags)
	}
	return text
}

// DestKey identifies a destination within its service; it is comparable.
type DestKey struct {
	Addr netip.Addr `json:"addr"`
	Port uint16     `json:"port"`
}

// String is addr:port.
func (k DestKey) String() string { return netip.AddrPortFrom(k.Addr, k.Port).String() }

// Destination is a real server as a service sees it.
type Destination struct {
	DestKey
	Forward  Forward  `json:"forward"`
	Weight   int32    `json:"weight"`
	Upper    uint32   `json:"upper,omitempty"` // connection thresholds; zero: none; more than 1<<31-1 is refused since Linux 6.1.183
	Lower    uint32   `json:"lower,omitempty"`
	Tunnel   Tunnel   `json:"tunnel,omitzero"`
	Counters Counters `json:"counters,omitzero"` // read from a kernel; ignored when written
}

// Counters are what a kernel reports. Active and Inactive are live and belong
// to destinations only; the rest is refreshed by the kernel every 2 s
// (net/netfilter/ipvs/ip_vs_est.c).
type Counters struct {
	Active     uint32 `json:"active"`
	Inactive   uint32 `json:"inactive"`
	Persistent uint32 `json:"persistent"`
	Conns      uint64 `json:"conns"`
	InPkts     uint64 `json:"inPkts"`
	OutPkts    uint64 `json:"outPkts"`
	InBytes    uint64 `json:"inBytes"`
	OutBytes   uint64 `json:"outBytes"`
	CPS        uint64 `json:"cps"`
	InPPS      uint64 `json:"inPPS"`
	OutPPS     uint64 `json:"outPPS"`
	InBPS      uint64 `json:"inBPS"`
	OutBPS     uint64 `json:"outBPS"`
}
