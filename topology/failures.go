package topology

// FailureMode is the id of a way in which a set-up fails.
type FailureMode string

// The failure modes that a topology file shows. Those marked as errors can't
// work at all and need the file's allow to be built.
const (
	NATNoReturnRoute FailureMode = "nat-no-return-route" // answers don't come back through the director
	NATSameSubnet    FailureMode = "nat-same-subnet"     // client and real server share a network
	NoIPForward      FailureMode = "no-ip-forward"       // the director does not forward
	NoRoute          FailureMode = "no-route"            // no way there, or none back
	DRARPFlux        FailureMode = "dr-arp-flux"         // real servers answer ARP for the VIP
	DRVIPMissing     FailureMode = "dr-vip-missing"      // the real server does not have the VIP
	DRVIPNetmask     FailureMode = "dr-vip-netmask"      // error: the VIP on a real server with a network's mask
	DRPortMismatch   FailureMode = "dr-port-mismatch"    // error: DR and TUN don't translate ports
	DRNotOnLink      FailureMode = "dr-not-on-link"      // error: DR needs a network shared with the director
	OnePacketNAT     FailureMode = "one-packet-nat"      // error: without entries NAT can't rewrite answers
	ListenAddress    FailureMode = "listen-address"      // the server does not listen on the VIP
	UDPDRSource      FailureMode = "udp-dr-source"       // the server answers from its own address
	TUNRPFilter      FailureMode = "tun-rp-filter"       // rp_filter drops the inner packet
	TUNNoDevice      FailureMode = "tun-no-device"       // nothing decapsulates
	TUNMTU           FailureMode = "tun-mtu"             // the outer header does not fit
	OneArmRedirect   FailureMode = "one-arm-redirect"    // the director sends ICMP redirects
	PersistenceSkew  FailureMode = "persistence-skew"    // few clients, and they stick
	WeightsAllZero   FailureMode = "weights-all-zero"    // nobody takes connections
	ServerDown       FailureMode = "server-down"         // nothing serves the real port
	LinkDown         FailureMode = "link-down"           // an interface is left down
	MTUMismatch      FailureMode = "mtu-mismatch"        // interfaces of a network differ
	DuplicateAddress FailureMode = "duplicate-address"   // error: two interfaces have it
	WrongSubnet      FailureMode = "wrong-subnet"        // error: an address outside its network
	DirectorCannot   FailureMode = "director-cannot"     // what runs the director can't do what the service asks
	DirectorConfig   FailureMode = "director-config"     // error: the director's program does not accept its configuration
	GatewayNotMoved  FailureMode = "gateway-not-moved"   // the real servers' gateway stays with a director that is taken over
	HostSysctls      FailureMode = "host-sysctls"        // a setting is inherited from the host
	PublicAddresses  FailureMode = "public-addresses"    // addresses that belong to somebody
)

// FailureModes are all of them.
var FailureModes = []FailureMode{
	NATNoReturnRoute, NATSameSubnet, NoIPForward, NoRoute, DRARPFlux, DRVIPMissing, DRVIPNetmask, DRPortMismatch,
	DRNotOnLink, OnePacketNAT, ListenAddress, UDPDRSource, TUNRPFilter, TUNNoDevice, TUNMTU, OneArmRedirect, PersistenceSkew,
	WeightsAllZero, ServerDown, LinkDown, MTUMismatch, DuplicateAddress, WrongSubnet, DirectorCannot, DirectorConfig, GatewayNotMoved,
	HostSysctls, PublicAddresses,
}

func (FailureMode) allowed() []string {
	words := make([]string, len(FailureModes))
	for i, m := range FailureModes {
		words[i] = string(m)
	}
	return words
}
