package ipvsadm

import (
	"math"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

func (p *parser) serviceOption(id optionID) error {
	s := &p.cmd.Service
	switch id {
	case optTCP, optUDP, optSCTP:
		return p.virtualService(map[optionID]lb.Protocol{optTCP: lb.TCP, optUDP: lb.UDP, optSCTP: lb.SCTP}[id])
	case optFWMark:
		mark, ok := parseNumber(p.arg, 1, math.MaxUint32)
		if !ok {
			return usage("invalid fwmark value `%s' specified", p.arg)
		}
		s.Key = lb.MarkKey(uint32(mark), lb.IPv4)
	case optIPv6:
		if s.FWMark == 0 {
			return usage("-6 used before -f\n")
		}
		s.Family, p.maskBits = lb.IPv6, 128
	case optScheduler:
		s.Scheduler = cut(p.arg, maxSchedulerName)
	case optPersistent:
		p.persistent = true
		return p.persistence()
	case optNetmask:
		return p.netmask()
	case optOnePacket:
		s.Flags |= lb.OnePacket
	case optEngine:
		s.Engine = cut(p.arg, maxEngineName)
	case optSchedFlags:
		p.schedFlags = cut(p.arg, maxSchedFlags)
	}
	return nil
}

func (p *parser) virtualService(proto lb.Protocol) error {
	e, ok := parseEndpoint(p.arg, proto, p.names)
	if !ok {
		return usage("illegal virtual server address[:port] specified")
	}
	p.cmd.Service.Key = lb.Key{Protocol: proto, Addr: e.addr, Port: e.port, Family: e.family}
	p.maskBits = 128
	return nil
}

func (p *parser) persistence() error {
	p.timeout = defaultPersistence
	if !p.hasArg {
		return nil
	}
	var err error
	p.timeout, err = parseTimeout(p.arg, 1)
	return err
}

func parseTimeout(s string, low int64) (int64, error) {
	n, ok := parseNumber(s, low, maxTimeout)
	if !ok {
		return 0, usage("invalid timeout value `%s' specified", s)
	}
	return n, nil
}

// netmask takes an address mask, or a prefix length if the service is known
// to be an IPv6 one by now.
func (p *parser) netmask() error {
	if p.cmd.Service.Family == lb.IPv6 {
		n := leadingInt(p.arg)
		if n < 1 || n > 128 {
			return usage("illegal ipv6 netmask specified")
		}
		p.maskBits = n
		return nil
	}
	a, ok := parseIPv4OrName(p.arg, p.names)
	if !ok {
		return usage("illegal virtual server persistent mask specified")
	}
	p.mask = a
	return nil
}

func (p *parser) completeService() error {
	s := &p.cmd.Service
	if s.FWMark == 0 && s.Port == 0 && !p.persistent {
		return usage("Zero port specified for non-persistent service")
	}
	if s.Flags&lb.OnePacket != 0 && s.FWMark == 0 && s.Protocol != lb.UDP {
		return usage("One-Packet Scheduling is only for UDP virtual services")
	}
	if s.Scheduler == "" {
		s.Scheduler = defaultScheduler
	}
	if p.persistent {
		s.Timeout = time.Duration(p.timeout) * time.Second
		if s.Family == lb.IPv6 {
			s.MaskBits = uint8(p.maskBits % 128) // zero: one address
		} else {
			s.SetMask4(p.mask)
		}
	}
	return nil
}
