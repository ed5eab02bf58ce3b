package ipvsadm

import (
	"math"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
)

// keepalivedExport writes virtual_server blocks (keepalived.conf(5), 2.2).
// keepalived without a checker holds every server to be up, so the table is
// the one that was exported; with one, when all are.
type keepalivedExport struct{ exporter }

func (e *keepalivedExport) service(s *lb.Service) {
	e.loseMarks(s)
	if s.FWMark != 0 {
		e.f("virtual_server fwmark %d {\n", s.FWMark)
		if s.Family == lb.IPv6 {
			e.f("    ip_family inet6\n")
		}
	} else {
		e.f("virtual_server %s %d {\n", formatAddr(s.Addr), s.Port)
		e.f("    protocol %s\n", protocolName(s.Protocol))
	}
	e.f("    lvs_sched %s\n", s.Scheduler)
	for _, word := range flagWords(s) {
		e.f("    %s\n", word)
	}
	if s.Flags&lb.OnePacket != 0 {
		e.f("    ops\n")
	}
	e.persistence(s)
	method := lb.NAT
	if len(s.Destinations) > 0 {
		method = s.Destinations[0].Forward
	} else {
		e.lose(s, nil, "the service itself, for keepalived leaves out one without servers")
	}
	e.f("    lvs_method %s\n", keepalivedMethod(method))
	h := known(e.opt.Health, s.Key)
	if h != nil && !h.Watched() {
		h = nil
	}
	if h != nil {
		e.checks(s, h)
	}
	for i := range s.Destinations {
		e.server(s, i, h)
	}
	e.f("}\n")
}

func (e *keepalivedExport) persistence(s *lb.Service) {
	if s.Timeout > 0 {
		e.f("    persistence_timeout %d\n", int64(s.Timeout.Seconds()))
		switch {
		case s.Family == lb.IPv6 && s.MaskBits != 0:
			e.f("    persistence_granularity %d\n", s.MaskBits)
		case s.Family == lb.IPv4 && s.Mask4() != oneAddress:
			e.f("    persistence_granularity %s\n", s.Mask4())
		}
	}
	switch {
	case s.Engine != "" && s.Timeout > 0:
		e.f("    persistence_engine %s\n", s.Engine)
	case s.Engine != "":
		e.lose(s, nil, "persistence engine %s without persistence", s.Engine)
	}
}

func keepalivedMethod(f lb.Forward) string {
	switch f {
	case lb.NAT:
		return "NAT"
	case lb.TUN:
		return "TUN"
	}
	return "DR" // the director itself, too: the kernel finds out
}

func (e *keepalivedExport) server(s *lb.Service, i int, h *health.Service) {
	d := &s.Destinations[i]
	e.f("    real_server %s %d {\n", formatAddr(d.Addr), d.Port)
	weight := d.Weight
	if weight > math.MaxUint16 {
		e.lose(s, d, "weight %d, above 65535", weight)
		weight = math.MaxUint16
	}
	e.f("        weight %d\n", weight)
	e.f("        lvs_method %s", keepalivedMethod(d.Forward))
	if d.Forward == lb.TUN {
		e.tunnel(&d.Tunnel)
	}
	e.f("\n")
	if d.Upper != 0 {
		e.f("        uthreshold %d\n", d.Upper)
	}
	if d.Lower != 0 {
		e.f("        lthreshold %d\n", d.Lower)
	}
	if h != nil {
		e.serverChecks(s, h, i)
	}
	e.f("    }\n")
}

func (e *keepalivedExport) tunnel(t *lb.Tunnel) {
	if t.Type == lb.IPIP {
		return
	}
	_, name := tunnelRules(t.Type)
	e.f(" type %s", name)
	if t.Type == lb.GUE {
		e.f(" port %d", t.Port)
	}
	switch t.Flags {
	case encapChecksum:
		e.f(" csum")
	case encapRemoteChecksum:
		e.f(" remcsum")
	default:
		e.f(" nocsum")
	}
}
