package topology

import (
	"cmp"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// Spoken is what a service's built-in real servers speak: "http", "tcp",
// "udp" or "sctp". For what is no service, or where the user's own programs answer, it is
// http.
func (p *Plan) Spoken(service string) string {
	for i := range p.Services {
		s := &p.Services[i]
		if s.Name != service {
			continue
		}
		transport := s.transport()
		for k, name := range s.RealServers {
			n := slices.IndexFunc(p.Nodes, func(n Node) bool { return n.Name == name })
			if n < 0 {
				continue
			}
			port := s.Spec.Port
			if d := s.Spec.Destinations[k]; d.Forward == lb.NAT && d.Port != 0 {
				port = d.Port
			}
			for _, r := range p.Nodes[n].Responders {
				if r.Transport() == transport && (port == 0 || r.Port == port) {
					return r.Protocol
				}
			}
		}
		if transport != lb.TCP {
			return transport.String()
		}
	}
	return "http"
}

// transport is the protocol of the packets that the service takes; of a
// firewall mark's, that of its first rule.
func (s *Service) transport() lb.Protocol {
	p := s.Spec.Protocol
	if p == 0 && len(s.Marks) > 0 {
		p = s.Marks[0].Protocol
	}
	return cmp.Or(p, lb.TCP)
}

// Transport is the protocol of the packets that a built-in server takes.
func (r Responder) Transport() lb.Protocol { return transportOf(r.Protocol) }

func transportOf(spoken string) lb.Protocol {
	switch spoken {
	case "udp":
		return lb.UDP
	case "sctp":
		return lb.SCTP
	}
	return lb.TCP
}
