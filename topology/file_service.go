package topology

import "net/netip"

// ServiceSpec is a virtual service, named by vip, port and protocol or by fwmark.
type ServiceSpec struct {
	// The virtual address.
	VIP netip.Addr `json:"vip,omitzero"`
	// The virtual port; 0 is every port and needs persistence.
	Port *uint16 `json:"port,omitempty" jsonschema:"minimum=0,maximum=65535"`
	// tcp (the default), udp or sctp.
	Protocol ProtocolName `json:"protocol,omitempty"`
	// Firewall mark, in place of vip, port and protocol.
	FWMark uint32 `json:"fwmark,omitempty" jsonschema:"minimum=1,maximum=4294967295"`
	// The packets that get the firewall mark when they enter the director.
	Marks []MarkSpec `json:"marks,omitempty"`
	// A firewall mark's family; that of the marks' addresses unless told otherwise.
	Family FamilyName `json:"family,omitempty"`
	// wlc unless told otherwise, as with ipvsadm.
	Scheduler SchedulerName `json:"scheduler,omitempty"`
	// The scheduler's flags: sh-port, sh-fallback, mh-port, mh-fallback.
	Flags []FlagName `json:"flags,omitempty"`
	// Schedule every UDP packet by itself (ipvsadm -o).
	OnePacket bool `json:"onePacket,omitempty"`
	// Same client, same real server.
	Persistence *PersistenceSpec `json:"persistence,omitempty"`
	// How packets reach the real servers: nat (the default), dr or tun.
	Forwarding ForwardName `json:"forwarding,omitempty"`
	// The directors that carry it, or a failover group; the first director, or its group, unless told otherwise. The VIP lives on the first named, or floats with the group.
	Directors List[string] `json:"directors,omitempty"`
	// Nodes in order of adding: a list of names, or a mapping of names to details.
	RealServers RealServers `json:"realServers,omitempty"`
	// How its real servers are checked; without it they count as up. A list of checks: all must succeed.
	Check List[CheckSpec] `json:"check,omitempty"`
	// The least sum of the weights of real servers that are up with which it works; 1 unless told otherwise.
	Quorum int `json:"quorum,omitempty" jsonschema:"minimum=1,maximum=1000000"`
	// The quorum is lost below quorum less this, and gained at quorum plus this; 0 unless told otherwise.
	Hysteresis int `json:"hysteresis,omitempty" jsonschema:"minimum=0,maximum=1000000"`
	// The node that takes the connections while there is no quorum, in place of all real servers.
	SorryServer *SorryServerSpec `json:"sorryServer,omitempty"`
}

// PersistenceSpec is true (360 s), a time span, or a mapping.
type PersistenceSpec struct {
	// How long a client is remembered, in whole seconds; 360s unless told otherwise, as with ipvsadm -p.
	Timeout Duration `json:"timeout,omitempty"`
	// Prefix length by which clients are one; a single address unless told otherwise.
	Mask uint8 `json:"mask,omitempty" jsonschema:"minimum=1,maximum=128"`
	// Persistence engine: sip (UDP only).
	Engine EngineName `json:"engine,omitempty"`
}

// MarkSpec says which packets get a service's firewall mark.
type MarkSpec struct {
	// Destination address.
	VIP netip.Addr `json:"vip"`
	// tcp (the default), udp or sctp.
	Protocol ProtocolName `json:"protocol,omitempty"`
	// Destination port, or a range such as 8000-8010.
	Ports PortRange `json:"ports"`
}

// RealServers is a list of nodes, or a mapping of nodes to details.
type RealServers Ordered[RealServerSpec]

// RealServerSpec is a destination: nothing, its weight alone, or a mapping.
type RealServerSpec struct {
	// The node; the entry's key unless told otherwise. Lets a node be there twice, on two ports.
	Node string `json:"node,omitempty"`
	// 0 to 65535; 1 unless told otherwise. 0 takes no new connections.
	Weight *int `json:"weight,omitempty" jsonschema:"minimum=0,maximum=65535"`
	// No new connections at this many; 0: no limit.
	Upper uint32 `json:"upper,omitempty" jsonschema:"minimum=0,maximum=2147483647"`
	// New connections again below this many.
	Lower uint32 `json:"lower,omitempty" jsonschema:"minimum=0,maximum=2147483647"`
	// The real port; the virtual one unless told otherwise (nat only).
	Port uint16 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// This real server's own forwarding method.
	Forwarding ForwardName `json:"forwarding,omitempty"`
	// The real server's address; that on a network shared with the director unless told otherwise.
	Address netip.Addr `json:"address,omitzero"`
	// Encapsulation, for tun.
	Tunnel *TunnelSpec `json:"tunnel,omitempty"`
	// How this real server is checked, in place of the service's check, from which it has the times that it doesn't say; a list of checks: all must succeed.
	Check List[CheckSpec] `json:"check,omitempty"`
}

// TunnelSpec is an encapsulation: its type alone, or a mapping.
type TunnelSpec struct {
	// ipip (the default; IPv6 included), gue or gre.
	Type TunnelName `json:"type,omitempty"`
	// UDP port, for gue.
	Port uint16 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// Checksum: none (the default), csum or remcsum (ipvsadm --tun-nocsum, --tun-csum, --tun-remcsum).
	Checksum ChecksumName `json:"checksum,omitempty"`
}

// ScenarioSpec is traffic to drive and what to expect of it.
type ScenarioSpec struct {
	// The node whose client connects; the first client unless told otherwise.
	From string `json:"from,omitempty"`
	// The service to connect to; the only one unless told otherwise.
	Service string `json:"service,omitempty"`
	// address:port to connect to, in place of a service.
	To string `json:"to,omitempty"`
	// What the client does.
	Traffic TrafficSpec `json:"traffic,omitzero"`
	// What goes wrong meanwhile or, with traffic that is counted and not timed, before. All of it is healed at the end.
	Faults []FaultSpec `json:"faults,omitempty"`
	// What must be seen.
	Expect ExpectSpec `json:"expect,omitzero"`
}

// TrafficSpec is a number of connections alone, or a mapping.
type TrafficSpec struct {
	// http (the default over TCP), tcp, udp or sctp.
	Protocol TrafficName `json:"protocol,omitempty"`
	// How many in all; 10 unless told otherwise.
	Connections int `json:"connections,omitempty" jsonschema:"minimum=1,maximum=10000000"`
	// How many at once; 1 unless told otherwise.
	Concurrency int `json:"concurrency,omitempty" jsonschema:"minimum=1,maximum=100000"`
	// Keep each open until the last has been opened.
	Hold bool `json:"hold,omitempty"`
	// Of one connection; unless told otherwise 20s where it is to be answered, and 5s elsewhere.
	Timeout Duration `json:"timeout,omitempty"`
	// Source addresses, taken in turn.
	Sources List[netip.Addr] `json:"sources,omitempty"`
	// Drive new connections and streams for this time, in place of a number of connections; with one of the keys below, 5s after the last fault unless told otherwise.
	Duration Duration `json:"duration,omitempty"`
	// New connections per second; 50 unless told otherwise, 0: none.
	Rate *int `json:"rate,omitempty" jsonschema:"minimum=0,maximum=10000"`
	// Streams that are kept open from the beginning to the end; 10 unless told otherwise.
	Streams *int `json:"streams,omitempty" jsonschema:"minimum=0,maximum=10000"`
	// Time between two requests of a stream; 20ms unless told otherwise.
	Every Duration `json:"every,omitempty"`
}

// ExpectSpec is predicted or an outcome alone, or a mapping. What is not said is not checked.
type ExpectSpec struct {
	// predicted: every connection lands where the scheduler's model says.
	Distribution DistributionName `json:"distribution,omitempty"`
	// Identities in order of opening.
	Sequence []string `json:"sequence,omitempty"`
	// Exact number of connections by identity.
	Counts Ordered[int] `json:"counts,omitempty"`
	// Of every connection: answered (the default), refused, timeout or reset.
	Outcome OutcomeName `json:"outcome,omitempty"`
	// Of traffic that is timed: what clients may notice.
	Handover *HandoverSpec `json:"handover,omitempty"`
}
