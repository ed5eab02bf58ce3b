package topology

import (
	"net/netip"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
)

// Plan is a topology with nothing left to decide: every default is written
// out, every name resolved. It is what lab.Up builds, what `ipvslab plan`
// prints and what the state on disk holds; it is the same on every machine.
type Plan struct {
	Name     string    `json:"name"`
	Source   string    `json:"source,omitempty"` // the file it was read from
	Networks []Network `json:"networks,omitempty"`
	Nodes    []Node    `json:"nodes"`
	Services []Service `json:"services,omitempty"`
	Failover []Group   `json:"failover,omitempty"`
	// Directors says what runs each node of role director, in the nodes' order.
	Directors []DirectorPlan `json:"directors,omitempty"`
	Scenarios []Scenario     `json:"scenarios,omitempty"`
}

// Origin says where a planned item comes from: the empty string when the file
// says it, else the rule that added it ("role director: forwards packets").
type Origin string

// NetworkKind tells a bridge from a point-to-point link.
type NetworkKind string

// The kinds of network.
const (
	Segment NetworkKind = "segment" // a bridge in the lab's own segment namespace
	Veth    NetworkKind = "veth"    // one veth pair between exactly two interfaces
)

// Network is a layer-2 network.
type Network struct {
	Name     string         `json:"name"`
	Kind     NetworkKind    `json:"kind"`
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	MTU      int            `json:"mtu"`
}

// Role is what a node is for; it decides its defaults.
type Role string

// The roles.
const (
	Client     Role = "client"
	Director   Role = "director"
	RealServer Role = "realserver"
	Router     Role = "router"
	NoRole     Role = "none"
)

// Node is one network namespace and what is in it.
type Node struct {
	Name       string      `json:"name"`
	Role       Role        `json:"role"`
	Interfaces []Interface `json:"interfaces,omitempty"` // in order of creation; never lo
	Loopback   []Address   `json:"loopback,omitempty"`   // addresses on lo beside 127.0.0.1 and ::1
	Routes     []Route     `json:"routes,omitempty"`     // beside the connected ones
	Rules      []Rule      `json:"rules,omitempty"`
	Sysctls    []Sysctl    `json:"sysctls,omitempty"` // in order of writing; after the interfaces exist, before they are up
	Responders []Responder `json:"responders,omitempty"`
	Commands   []Command   `json:"commands,omitempty"`
}

// InterfaceKind is the kind of link behind an interface.
type InterfaceKind string

// The kinds of interface. A VethIface belongs to a network, the others do not.
const (
	VethIface  InterfaceKind = "veth"
	DummyIface InterfaceKind = "dummy"
	IPIPIface  InterfaceKind = "ipip"   // IPv4 in IPv4: tunl0 is the kernel's own fallback device
	IP6Iface   InterfaceKind = "ip6tnl" // anything in IPv6: ip6tnl0 likewise, but for IPv6 only
	SITIface   InterfaceKind = "sit"    // IPv6 in IPv4: sit0 likewise
	GREIface   InterfaceKind = "gre"    // over IPv6 if that is its local address's family
	GUEIface   InterfaceKind = "gue"    // a device of the kind Inside, with fou/gue decapsulation on Port
)

// Interface is a link inside a node.
type Interface struct {
	Name      string        `json:"name"` // at most 15 bytes (IFNAMSIZ-1)
	Kind      InterfaceKind `json:"kind"`
	Network   string        `json:"network,omitempty"` // VethIface only
	MAC       string        `json:"mac"`               // always given for VethIface: derived from lab, node and name
	MTU       int           `json:"mtu,omitempty"`
	Addresses []Address     `json:"addresses,omitempty"`
	Local     netip.Addr    `json:"local,omitzero"`  // tunnels
	Remote    netip.Addr    `json:"remote,omitzero"` // tunnels; the zero Addr: any
	Port      uint16        `json:"port,omitempty"`  // GUE
	// Inside is the kind of device that a GUE tunnel's packets come out of: ipip,
	// sit or ip6tnl, by the two families.
	Inside   InterfaceKind `json:"inside,omitempty"`
	Checksum bool          `json:"checksum,omitempty"` // GRE: packets come with one, and only such
	Down     bool          `json:"down,omitempty"`     // created, but left down
	Origin   Origin        `json:"origin,omitempty"`
}

// Address is an address with its prefix length on an interface.
type Address struct {
	Prefix netip.Prefix `json:"prefix"`
	VIP    bool         `json:"vip,omitempty"`
	Origin Origin       `json:"origin,omitempty"`
}

// Route is a route. The zero prefix of its family is the default route.
type Route struct {
	To     netip.Prefix `json:"to"`
	Via    netip.Addr   `json:"via,omitzero"`
	Device string       `json:"device,omitempty"`
	Source netip.Addr   `json:"source,omitzero"`
	Metric int          `json:"metric,omitempty"`
	MTU    int          `json:"mtu,omitempty"`
	Table  int          `json:"table,omitempty"` // zero: main (254)
	Type   string       `json:"type,omitempty"`  // "" is unicast; "blackhole", "unreachable", "prohibit", "local"
	Origin Origin       `json:"origin,omitempty"`
}

// Rule is a policy routing rule (ip-rule(8)).
type Rule struct {
	Family   lb.Family    `json:"family"`
	Priority int          `json:"priority,omitempty"`
	From     netip.Prefix `json:"from,omitzero"`
	To       netip.Prefix `json:"to,omitzero"`
	IIF      string       `json:"iif,omitempty"`
	FWMark   uint32       `json:"fwmark,omitempty"`
	Table    int          `json:"table"`
	Origin   Origin       `json:"origin,omitempty"`
}

// Sysctl is one kernel setting of a node. The key is in sysctl(8)'s dotted
// form; an interface name with a dot is written with a slash, as sysctl does.
type Sysctl struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin Origin `json:"origin,omitempty"`
	// Optional settings may be missing in the kernel: net.bridge.*,
	// net.ipv4.vs.* on a node that carries no service. They are then passed over.
	Optional bool `json:"optional,omitempty"`
}

// Responder is a built-in server that answers with its node's name.
type Responder struct {
	Protocol string       `json:"protocol"`        // "http", "tcp", "udp", "sctp"
	Addrs    []netip.Addr `json:"addrs,omitempty"` // empty: any address, both families
	Port     uint16       `json:"port"`
	Identity string       `json:"identity"` // what it answers with; the node's name unless told otherwise
	Origin   Origin       `json:"origin,omitempty"`
}

// Command is a program of the user's that runs in a node as long as the lab is up.
type Command struct {
	Name  string            `json:"name"`
	Argv  []string          `json:"argv"`
	Dir   string            `json:"dir,omitempty"`
	Env   map[string]string `json:"env,omitempty"`
	Ready Ready             `json:"ready"`
}

// Ready is the condition under which a command counts as started. Exactly one
// of the fields but Within is set; with none, being started is enough.
type Ready struct {
	TCP    string        `json:"tcp,omitempty"`  // address:port accepts, seen from the node
	HTTP   string        `json:"http,omitempty"` // URL answers 2xx or 3xx, seen from the node
	File   string        `json:"file,omitempty"` // path exists
	Log    string        `json:"log,omitempty"`  // regular expression matches a line of the output
	Exit   bool          `json:"exit,omitempty"` // it has ended with status 0
	Within time.Duration `json:"within"`         // the deadline; 10 s unless told otherwise
}

// Service is a virtual service and where it lives.
type Service struct {
	Name      string     `json:"name"`
	Directors []string   `json:"directors"` // the nodes that carry it
	Spec      lb.Service `json:"spec"`      // as each of those directors' tables is to hold it
	// RealServers names the node behind each of Spec.Destinations, by index.
	RealServers []string `json:"realServers"`
	// MarkPorts, for a firewall-mark service, are the packets to mark on the director.
	Marks []Mark `json:"marks,omitempty"`
	// Check is how the real servers are checked; nil: they count as up.
	Check *health.Check `json:"check,omitempty"`
	// OwnChecks are the checks of single real servers; see health.Service.
	OwnChecks [][]health.Check `json:"ownChecks,omitempty"`
	// Quorum and Hysteresis are sums of weights; see health.Service.
	Quorum     int    `json:"quorum,omitempty"`
	Hysteresis int    `json:"hysteresis,omitempty"`
	Sorry      *Sorry `json:"sorry,omitempty"`
}

// Sorry is the server that takes a service's connections while there is no quorum.
type Sorry struct {
	Node string `json:"node"`
	health.Sorry
}

// The kinds of director.
const (
	Embedded        DirectorKind = "embedded"   // this program's own controller
	Keepalived      DirectorKind = "keepalived" // keepalived(8)
	Ipvsadm         DirectorKind = "ipvsadm"    // a rules file, applied once
	CommandDirector DirectorKind = "command"    // any program
)

// DirectorPlan is what runs one director. Paths are as the topology file gives
// them, from its directory.
type DirectorPlan struct {
	Node    string            `json:"node"`
	Kind    DirectorKind      `json:"kind"`
	Config  string            `json:"config,omitempty"`  // Keepalived: the user's file; empty: made of the services
	Rules   string            `json:"rules,omitempty"`   // Ipvsadm: likewise
	Program string            `json:"program,omitempty"` // Keepalived, Ipvsadm: what to run; empty: keepalived, or this program's own ipvsadm
	Argv    []string          `json:"argv,omitempty"`    // CommandDirector
	Dir     string            `json:"dir,omitempty"`     // working directory
	Env     map[string]string `json:"env,omitempty"`
	// Ready is the user's condition. Nil: the table is what the services say,
	// or, where they don't say, the program runs.
	Ready *Ready `json:"ready,omitempty"`
	// Lax: what the program says against its configuration is told, and does not
	// stop the lab (the file's allow: [director-config]).
	Lax    bool   `json:"lax,omitempty"`
	Origin Origin `json:"origin,omitempty"`
}

// DirectorOf finds what runs a node; nil if it is no director.
func (p *Plan) DirectorOf(node string) *DirectorPlan {
	for i := range p.Directors {
		if p.Directors[i].Node == node {
			return &p.Directors[i]
		}
	}
	return nil
}

// Mark is a rule that puts a service's firewall mark on packets that enter a director.
type Mark struct {
	Protocol lb.Protocol `json:"protocol"`
	Addr     netip.Addr  `json:"addr"`
	First    uint16      `json:"first"` // port range, inclusive
	Last     uint16      `json:"last"`
}

// Scenario is traffic to drive and what to expect of it.
type Scenario struct {
	Name    string      `json:"name"`
	From    string      `json:"from"`              // node
	Service string      `json:"service,omitempty"` // a service's name, or
	To      string      `json:"to,omitempty"`      // address:port, visited directly
	Traffic Traffic     `json:"traffic"`
	Faults  []Fault     `json:"faults,omitempty"` // in order of happening
	Expect  Expectation `json:"expect"`
}

// Traffic is what a scenario's client does.
type Traffic struct {
	Protocol    string        `json:"protocol"`          // "http", "tcp", "udp", "sctp"
	Connections int           `json:"connections"`       // how many in all
	Concurrency int           `json:"concurrency"`       // how many at once; 1: one after the other
	Hold        bool          `json:"hold,omitempty"`    // keep each open until the last has been opened
	Timeout     time.Duration `json:"timeout"`           // of one connection
	Sources     []netip.Addr  `json:"sources,omitempty"` // source addresses, taken in turn
	// Duration is not zero for timed traffic: streams with a request every so
	// often, and new connections at a rate. Connections, Concurrency and Hold
	// have no meaning then.
	Duration time.Duration `json:"duration,omitempty"`
	Rate     int           `json:"rate,omitempty"` // new connections per second
	Streams  int           `json:"streams,omitempty"`
	Every    time.Duration `json:"every,omitempty"`
}

// Expectation is what must be seen. Unset fields are not checked.
type Expectation struct {
	// Predicted: each connection lands on the real server that the scheduler's
	// model names, one by one (Concurrency 1), and the sums agree otherwise.
	Predicted bool `json:"predicted,omitempty"`
	// Sequence is the identities in order of opening.
	Sequence []string `json:"sequence,omitempty"`
	// Counts is the exact number of connections per identity.
	Counts map[string]int `json:"counts,omitempty"`
	// Outcome is what happens to every connection: "answered" (the default),
	// "refused", "timeout" or "reset".
	Outcome string `json:"outcome"`
	// Handover is what clients of timed traffic may notice; nil: anything.
	Handover *Handover `json:"handover,omitempty"`
}

// Handover bounds what clients notice of faults. Zero and nil are not checked.
type Handover struct {
	Gap       time.Duration  `json:"gap,omitempty"`
	Lost      *int           `json:"lost,omitempty"`
	Streams   string         `json:"streams,omitempty"` // "continue" or "lost"
	Active    string         `json:"active,omitempty"`
	TwoActive *time.Duration `json:"twoActive,omitempty"`
}
