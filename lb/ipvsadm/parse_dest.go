package ipvsadm

import (
	"math"
	"net/netip"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
)

func (p *parser) destOption(id optionID) error {
	d := &p.cmd.Dest
	switch id {
	case optServer:
		return p.realServer()
	case optMasq:
		d.Forward = lb.NAT
	case optTunnel:
		d.Forward = lb.TUN
	case optRoute:
		d.Forward = lb.DR
	case optWeight:
		n, err := p.number("weight", 0, math.MaxInt32)
		d.Weight = int32(n)
		return err
	case optUThreshold:
		n, err := p.number("u_threshold", 0, math.MaxInt32)
		d.Upper = uint32(n)
		return err
	case optLThreshold:
		n, err := p.number("l_threshold", 0, math.MaxInt32)
		d.Lower = uint32(n)
		return err
	case optTunType:
		t, ok := map[string]lb.TunnelType{"ipip": lb.IPIP, "gue": lb.GUE, "gre": lb.GRE}[p.arg]
		if !ok {
			return usage("illegal tunnel type specified")
		}
		d.Tunnel.Type = t
	case optTunPort:
		n, err := p.number("tunnel port", 1, math.MaxUint16)
		d.Tunnel.Port = uint16(n)
		return err
	case optTunCsum:
		d.Tunnel.Flags |= encapChecksum
	case optTunRemCsum:
		d.Tunnel.Flags |= encapRemoteChecksum
	case optTunNoCsum: // flag 0
	}
	return nil
}

// Tunnel flags (IP_VS_TUNNEL_ENCAP_FLAG_*, include/uapi/linux/ip_vs.h).
const (
	encapChecksum       = 1
	encapRemoteChecksum = 2
)

// realServer takes -r. A port that isn't given is the service's, if that is known by now.
func (p *parser) realServer() error {
	e, ok := parseEndpoint(p.arg, p.protocol(), p.names)
	if !ok {
		return usage("illegal real server address[:port] specified")
	}
	p.cmd.Dest.DestKey = lb.DestKey{Addr: e.addr, Port: e.port}
	if !e.hasPort {
		p.cmd.Dest.Port = p.cmd.Service.Port
	}
	return nil
}

// protocol is the one in which service names are looked up; a firewall mark counts as TCP.
func (p *parser) protocol() lb.Protocol {
	if p.cmd.Service.FWMark != 0 {
		return lb.TCP
	}
	return p.cmd.Service.Protocol
}

// number reads the option's argument; what names it in the message.
func (p *parser) number(what string, low, high int64) (int64, error) {
	n, ok := parseNumber(p.arg, low, high)
	if !ok {
		return 0, usage("illegal %s specified", what)
	}
	return n, nil
}

func (p *parser) daemonOption(id optionID) error {
	d := &p.cmd.Daemon
	var n int64
	var err error
	switch id {
	case optMcast:
		d.Interface = cut(p.arg, maxInterfaceName)
	case optSyncID:
		n, err = p.number("syncid", 0, math.MaxUint8)
		d.ID = uint32(n)
	case optMcastGroup:
		return p.mcastGroup()
	case optMcastPort:
		n, err = p.number("mcast-port", 1, math.MaxUint16)
		d.Port = uint16(n)
	case optMcastTTL:
		n, err = p.number("mcast-ttl", 1, math.MaxUint8)
		d.TTL = uint8(n)
	case optSyncMaxlen:
		n, err = p.number("sync-maxlen", 1, math.MaxUint16-20-8)
		d.MaxLen = uint16(n)
	}
	return err
}

func (p *parser) mcastGroup() error {
	a, err := netip.ParseAddr(p.arg)
	version := 4
	if strings.Contains(p.arg, ":") {
		version = 6
	}
	if err != nil || a.Zone() != "" || a.Is4() != (version == 4) || a.Is4In6() || !a.IsMulticast() {
		return usage("invalid IPv%d mcast-group `%s'", version, p.arg)
	}
	p.cmd.Daemon.Group = a
	return nil
}

func (p *parser) completeDest() error {
	s, d := &p.cmd.Service, &p.cmd.Dest
	if s.FWMark == 0 && d.Forward != lb.NAT {
		d.Port = s.Port
	}
	if d.Forward != lb.TUN {
		if addrFamily(d.Addr) != s.Family {
			return usage("Different address family is allowed only for tunneling servers")
		}
		if p.given.hasAny(append(tunnelOptions, optTunType)...) {
			return usage("Tunnel options conflict with forward method")
		}
	}
	rules, name := tunnelRules(d.Tunnel.Type)
	return rules.check(p.given, tunnelOptions, "the '"+name+"' tunnel type")
}

// tunnelRules are the options that go with a tunnel type, and its name.
func tunnelRules(t lb.TunnelType) (rule, string) {
	switch t {
	case lb.GUE:
		return rule{required: setOf(optTunPort), exclusive: setOf(optTunNoCsum, optTunCsum, optTunRemCsum)}, "gue"
	case lb.GRE:
		return rule{exclusive: setOf(optTunNoCsum, optTunCsum)}, "gre"
	}
	return rule{}, "ipip"
}

// addrFamily takes an IPv4-mapped address for an IPv6 one, as the kernel does.
func addrFamily(a netip.Addr) lb.Family {
	if a.Is4() {
		return lb.IPv4
	}
	return lb.IPv6
}
