package topology

import "net/netip"

// Ordered is a mapping that keeps the file's order.
type Ordered[V any] []Entry[V]

// Entry is one key of an [Ordered] mapping.
type Entry[V any] struct {
	Key   string
	Value V
}

// Keys are the mapping's keys in order.
func (o Ordered[V]) Keys() []string {
	keys := make([]string, len(o))
	for i, e := range o {
		keys[i] = e.Key
	}
	return keys
}

// List is one value, or a list of them.
type List[V any] []V

// AddressSpec is an address with or without a prefix length.
type AddressSpec struct {
	Addr netip.Addr
	Bits int // -1: none given
}

// RouteTarget is a prefix, an address (a host route) or the word default,
// which is the zero Prefix until the family is known.
type RouteTarget struct{ Prefix netip.Prefix }

// PortRange is a port, or an inclusive range of ports as first-last.
type PortRange struct{ First, Last uint16 }

// StatusRange is an HTTP status code, or an inclusive range as first-last.
type StatusRange struct{ First, Last int }

// HardwareAddr is a unicast Ethernet address.
type HardwareAddr string

// SysctlValue is any plain value, as it is to be written.
type SysctlValue string

// enumerated is a string with a closed set of values.
type enumerated interface{ allowed() []string }

// The words that the file uses for closed sets.
type (
	// RouteType is a type of route.
	RouteType string
	// FamilyName is ipv4 or ipv6.
	FamilyName string
	// ProtocolName is a transport protocol that IPVS balances.
	ProtocolName string
	// SchedulerName is an IPVS scheduler.
	SchedulerName string
	// FlagName is a scheduler's flag, as ipvsadm -b knows it.
	FlagName string
	// ForwardName is a forwarding method.
	ForwardName string
	// EngineName is a persistence engine.
	EngineName string
	// TunnelName is an encapsulation.
	TunnelName string
	// ChecksumName is a tunnel's checksum flag.
	ChecksumName string
	// TrafficName is what a scenario's client speaks.
	TrafficName string
	// DistributionName is a way to expect a distribution.
	DistributionName string
	// DirectorKind is what runs a director.
	DirectorKind string
	// OnFailureName is what becomes of a real server that is down.
	OnFailureName string
	// OutcomeName is what can become of a connection.
	OutcomeName string
)

// Schedulers are those of Linux's net/netfilter/ipvs; whether a kernel has one
// is for a probe to say.
var Schedulers = []string{
	"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
}

func (NetworkKind) allowed() []string { return []string{string(Segment), string(Veth)} }
func (Role) allowed() []string {
	return []string{string(Client), string(Director), string(RealServer), string(Router), string(NoRole)}
}

func (InterfaceKind) allowed() []string {
	return []string{"veth", "dummy", "ipip", "ip6tnl", "sit", "gre", "gue"}
}

func (RouteType) allowed() []string {
	return []string{"unicast", "blackhole", "unreachable", "prohibit", "local"}
}
func (FamilyName) allowed() []string    { return []string{"ipv4", "ipv6"} }
func (ProtocolName) allowed() []string  { return []string{"tcp", "udp", "sctp"} }
func (SchedulerName) allowed() []string { return Schedulers }
func (FlagName) allowed() []string {
	return []string{"sh-port", "sh-fallback", "mh-port", "mh-fallback"}
}
func (ForwardName) allowed() []string      { return []string{"nat", "dr", "tun"} }
func (EngineName) allowed() []string       { return []string{"sip"} }
func (TunnelName) allowed() []string       { return []string{"ipip", "gue", "gre"} }
func (ChecksumName) allowed() []string     { return []string{"none", "csum", "remcsum"} }
func (TrafficName) allowed() []string      { return []string{"http", "tcp", "udp", "sctp"} }
func (DistributionName) allowed() []string { return []string{"predicted"} }
func (OutcomeName) allowed() []string      { return []string{"answered", "refused", "timeout", "reset"} }

func (DirectorKind) allowed() []string {
	return []string{string(Embedded), string(Keepalived), string(Ipvsadm), string(CommandDirector)}
}
func (OnFailureName) allowed() []string { return []string{"remove", "inhibit"} }
