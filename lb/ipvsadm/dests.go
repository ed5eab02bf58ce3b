package ipvsadm

import (
	"fmt"

	"github.com/ipvslab/ipvslab/lb"
)

// dest prints a destination in the view that p.title announced; service is the
// name of the service it belongs to.
func (p *printer) dest(service string, s *lb.Service, d *lb.Destination) {
	name := p.endpoint(d.Addr, d.Port, s.Protocol)
	if p.Rule {
		p.destRule(service, name, d)
		return
	}
	if addrFamily(d.Addr) != lb.IPv6 {
		name = cut(name, maxDestWidth)
	}
	p.f("  -> %-28s ", name)
	c := &d.Counters
	switch {
	case p.Stats:
		p.out = p.out[:len(p.out)-1]
		p.numbers(low32(c.Conns), low32(c.InPkts), low32(c.OutPkts), c.InBytes, c.OutBytes)
	case p.Rate:
		p.f("%8d %8d %8d", low32(c.CPS), low32(c.InPPS), low32(c.OutPPS))
		p.numbers(low32(c.InBPS), low32(c.OutBPS))
	case p.Thresholds:
		p.f("%-10d %-10d %-10d %-10d", d.Upper, d.Lower, c.Active, c.Inactive)
	case p.PersistentConn:
		p.f("%-9d %-11d %-10d %-10d", uint32(d.Weight), c.Persistent, c.Active, c.Inactive)
	case p.TunInfo:
		p.f("%-7s %-13s %-6d %-10d %-10d", d.Forward, tunnelInfo(d), d.Weight, c.Active, c.Inactive)
	default:
		p.f("%-7s %-6d %-10d %-10d", d.Forward, d.Weight, c.Active, c.Inactive)
	}
	p.out = append(p.out, '\n')
}

// low32 is what the original shows of a destination's 64-bit counters: it
// reads those that were once 32 bits wide as such (libipvs, ipvs_parse_stats).
func low32(n uint64) uint64 { return uint64(uint32(n)) }

// forwardOption is the option that chooses a forwarding method.
func forwardOption(f lb.Forward) string {
	switch f {
	case lb.NAT:
		return "-m"
	case lb.TUN:
		return "-i"
	}
	return "-g" // Local too: the kernel finds out by itself
}

// destRule prints the command that adds the destination.
func (p *printer) destRule(service, name string, d *lb.Destination) {
	p.f("-a %s -r %s %s -w %d", service, name, forwardOption(d.Forward), d.Weight)
	if d.Forward == lb.TUN {
		p.tunnelRule(&d.Tunnel)
	}
	p.out = append(p.out, '\n')
}

func (p *printer) tunnelRule(t *lb.Tunnel) {
	if t.Type > lb.GRE {
		return
	}
	_, name := tunnelRules(t.Type)
	p.f(" --tun-type %s", name)
	if t.Type == lb.GUE {
		p.f(" --tun-port %d", t.Port)
	}
	if t.Type != lb.IPIP {
		option, _ := encapWords(t.Flags)
		p.f(" %s", option)
	}
}

// encapWords are the option that sets the tunnel flags, and its sign in listings.
func encapWords(flags uint16) (option, sign string) {
	switch flags {
	case encapChecksum:
		return "--tun-csum", "+c"
	case encapRemoteChecksum:
		return "--tun-remcsum", "r+c"
	}
	return "--tun-nocsum", "-c"
}

// tunnelInfo is the column TunnelInfo; the original cuts it at 15 bytes.
func tunnelInfo(d *lb.Destination) string {
	if d.Forward != lb.TUN || d.Tunnel.Type > lb.GRE {
		return "n/a"
	}
	_, name := tunnelRules(d.Tunnel.Type)
	_, sign := encapWords(d.Tunnel.Flags)
	switch d.Tunnel.Type {
	case lb.GUE:
		return cut(fmt.Sprintf("%s:%d:%s", name, d.Tunnel.Port, sign), 15)
	case lb.GRE:
		return name + ":" + sign
	}
	return name
}
