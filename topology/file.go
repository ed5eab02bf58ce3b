package topology

import (
	"net/netip"
	"time"
)

// APIVersion is the one version of the file's format.
const APIVersion = "ipvslab/v1"

// Topology is a lab as its file says it, before any default.
type Topology struct {
	// The version of this format: ipvslab/v1.
	APIVersion string `json:"apiVersion"`
	// The lab's name, from which its namespaces are named; without it, the file's name.
	Name string `json:"name,omitempty"`
	// For people.
	Description string `json:"description,omitempty"`
	// Failure modes that this lab shows on purpose: an error of that id becomes a warning, a warning is left out.
	Allow []FailureMode `json:"allow,omitempty"`
	// Layer-2 networks by name. The name also names the bridge: at most 15 bytes.
	Networks Ordered[NetworkSpec] `json:"networks,omitempty"`
	// Nodes by name, in order of creation.
	Nodes Ordered[NodeSpec] `json:"nodes"`
	// What runs the directors; embedded unless told otherwise.
	Director *DirectorSpec `json:"director,omitempty"`
	// Virtual services by name.
	Services Ordered[ServiceSpec] `json:"services,omitempty"`
	// Groups of directors that take each other's addresses over, by name.
	Failover Ordered[FailoverSpec] `json:"failover,omitempty"`
	// Traffic to drive and what to expect of it, by name, in order of running.
	Scenarios Ordered[ScenarioSpec] `json:"scenarios,omitempty"`

	source   string
	pos      map[string]Pos
	problems Problems
}

// NetworkSpec is a layer-2 network: its prefixes alone, or a mapping.
type NetworkSpec struct {
	// IPv4 and IPv6 prefixes, such as 10.0.0.0/24.
	Prefixes List[netip.Prefix] `json:"prefixes,omitempty"`
	// Largest packet in bytes, for every interface on it; 1500 unless told otherwise.
	MTU int `json:"mtu,omitempty" jsonschema:"minimum=68,maximum=65535"`
	// segment (a bridge; the default) or veth (one pair between exactly two interfaces).
	Kind NetworkKind `json:"kind,omitempty"`
}

// NodeSpec is one network namespace.
type NodeSpec struct {
	// What the node is for; it decides its defaults. none unless told otherwise.
	Role Role `json:"role,omitempty"`
	// Make this many nodes NAME-1, NAME-2, ... with the addresses on networks counted up from those given.
	Replicas int `json:"replicas,omitempty" jsonschema:"minimum=1,maximum=10000"`
	// Interfaces by the network they are on (or by any name, with network or kind said inside).
	Interfaces Ordered[InterfaceSpec] `json:"interfaces,omitempty"`
	// Addresses on lo beside 127.0.0.1 and ::1; without a prefix length, /32 or /128.
	Loopback List[AddressSpec] `json:"loopback,omitempty"`
	// Routes beside the connected ones.
	Routes []RouteSpec `json:"routes,omitempty"`
	// Policy routing rules (ip-rule(8)).
	Rules []RuleSpec `json:"rules,omitempty"`
	// Kernel settings under net., in sysctl(8)'s dotted form. The value inherit takes the lab's pin off.
	Sysctls Ordered[SysctlValue] `json:"sysctls,omitempty"`
	// Built-in servers that answer with the node's name, in place of those the role brings; or none.
	Serve *ServeSpec `json:"serve,omitempty"`
	// Programs that run as long as the lab is up, by name. With one of them, the role brings no built-in server.
	Run Ordered[CommandSpec] `json:"run,omitempty"`
	// Director: what runs it, in place of what the file says for all.
	Director *DirectorSpec `json:"director,omitempty"`
	// What the role brings, each to be switched off with false.
	Defaults DefaultsSpec `json:"defaults,omitzero"`
}

// DefaultsSpec switches a role's defaults off, one by one.
type DefaultsSpec struct {
	// Real server: the route back to the clients (NAT: through the director).
	ReturnRoute *bool `json:"returnRoute,omitempty"`
	// Client, director, router: routes to networks that the node is not on.
	Routes *bool `json:"routes,omitempty"`
	// Director: the VIP on its interface. DR and TUN real server: the VIP on lo or the tunnel.
	VIP *bool `json:"vip,omitempty"`
	// DR and TUN real server: arp_ignore=1 and arp_announce=2, so that it does not answer ARP for the VIP.
	ARP *bool `json:"arp,omitempty"`
	// TUN real server: the tunnel device.
	Tunnel *bool `json:"tunnel,omitempty"`
	// Director, router: ip_forward=1.
	Forward *bool `json:"forward,omitempty"`
	// Real server: built-in servers on its services' ports.
	Serve *bool `json:"serve,omitempty"`
}

// InterfaceSpec is a link in a node: its address or addresses alone, or a mapping.
type InterfaceSpec struct {
	// The network it is on; the interface's key unless told otherwise.
	Network string `json:"network,omitempty"`
	// The link's name in the node, at most 15 bytes; the interface's key unless told otherwise.
	Name string `json:"name,omitempty"`
	// veth (on a network; the default), or dummy, ipip, ip6tnl, sit, gre, gue, which are on none.
	Kind InterfaceKind `json:"kind,omitempty"`
	// Addresses; without a prefix length, the network's (a /32 or /128 on a link without network).
	Addresses List[AddressSpec] `json:"addresses,omitempty"`
	// Hardware address; derived from lab, node and name unless told otherwise.
	MAC HardwareAddr `json:"mac,omitempty"`
	// Largest packet in bytes; the network's unless told otherwise.
	MTU int `json:"mtu,omitempty" jsonschema:"minimum=68,maximum=65535"`
	// A tunnel's own end.
	Local netip.Addr `json:"local,omitzero"`
	// A tunnel's other end; any unless told otherwise.
	Remote netip.Addr `json:"remote,omitzero"`
	// UDP port of a gue tunnel.
	Port uint16 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// Leave the link down.
	Down bool `json:"down,omitempty"`
}

// RouteSpec is a route (ip-route(8)).
type RouteSpec struct {
	// A prefix, an address, or default.
	To RouteTarget `json:"to"`
	// The next hop.
	Via netip.Addr `json:"via,omitzero"`
	// The link it leaves by.
	Device string `json:"device,omitempty"`
	// The source address to prefer.
	Source netip.Addr `json:"source,omitzero"`
	// Priority; the least wins.
	Metric int `json:"metric,omitempty" jsonschema:"minimum=0,maximum=2147483647"`
	// Path MTU of the route.
	MTU int `json:"mtu,omitempty" jsonschema:"minimum=68,maximum=65535"`
	// Routing table; main (254) unless told otherwise.
	Table int `json:"table,omitempty" jsonschema:"minimum=1,maximum=2147483647"`
	// unicast (the default), blackhole, unreachable, prohibit or local.
	Type RouteType `json:"type,omitempty"`
}

// RuleSpec is a policy routing rule (ip-rule(8)).
type RuleSpec struct {
	// ipv4 or ipv6; from the addresses, else ipv4, unless told otherwise.
	Family FamilyName `json:"family,omitempty"`
	// Rules are asked in this order.
	Priority int `json:"priority,omitempty" jsonschema:"minimum=0,maximum=32765"`
	// Source prefix or address.
	From RouteTarget `json:"from,omitzero"`
	// Destination prefix or address.
	To RouteTarget `json:"to,omitzero"`
	// The link the packet came in by.
	IIF string `json:"iif,omitempty"`
	// Firewall mark.
	FWMark uint32 `json:"fwmark,omitempty" jsonschema:"minimum=0,maximum=4294967295"`
	// The table to ask.
	Table int `json:"table" jsonschema:"minimum=1,maximum=2147483647"`
}

// ServeSpec is the word none, or a list of built-in servers.
type ServeSpec []ResponderSpec

// ResponderSpec is a built-in server; exactly one of http, tcp, udp and sctp.
type ResponderSpec struct {
	// HTTP on this port, or on each port of a range such as 8000-8010.
	HTTP PortRange `json:"http,omitzero"`
	// TCP: a line with the identity, then an echo.
	TCP PortRange `json:"tcp,omitzero"`
	// UDP: each datagram is answered.
	UDP PortRange `json:"udp,omitzero"`
	// SCTP: what tcp answers, over an association. An address should be told: with any, clients learn all that the node has, and may go past the director.
	SCTP PortRange `json:"sctp,omitzero"`
	// Addresses to listen on; any unless told otherwise.
	Address List[netip.Addr] `json:"address,omitempty"`
	// What to answer with; the node's name unless told otherwise.
	Identity string `json:"identity,omitempty"`
}

// CommandSpec is a program: its argument vector alone, or a mapping.
type CommandSpec struct {
	// Program and arguments; no shell is involved.
	Argv []string `json:"argv"`
	// Working directory.
	Dir string `json:"dir,omitempty"`
	// Additional environment.
	Env Ordered[SysctlValue] `json:"env,omitempty"`
	// When it counts as started.
	Ready ReadySpec `json:"ready,omitzero"`
}

// ReadySpec is a condition; at most one of tcp, http, file, log and exit.
type ReadySpec struct {
	// address:port accepts a connection, seen from the node.
	TCP string `json:"tcp,omitempty"`
	// This URL answers 2xx or 3xx, seen from the node.
	HTTP string `json:"http,omitempty"`
	// This path exists.
	File string `json:"file,omitempty"`
	// This regular expression (RE2) matches a line of the output.
	Log string `json:"log,omitempty"`
	// It has ended with status 0.
	Exit bool `json:"exit,omitempty"`
	// The deadline; 30s unless told otherwise.
	Within Duration `json:"within,omitempty"`
}

// Duration is a time span: 1m30s, or a number of seconds.
type Duration time.Duration
