package topology

import (
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// Spoken is what a service's built-in real servers speak: "http", "tcp" or
// "udp". For what is no service, or where the user's own programs answer, it is
// http.
func (p *Plan) Spoken(service string) string {
	for i := range p.Services {
		s := &p.Services[i]
		if s.Name != service {
			continue
		}
		udp := s.Spec.Protocol == lb.UDP || len(s.Marks) > 0 && s.Marks[0].Protocol == lb.UDP
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
				if (r.Protocol == "udp") == udp && (port == 0 || r.Port == port) {
					return r.Protocol
				}
			}
		}
		if udp {
			return "udp"
		}
	}
	return "http"
}
