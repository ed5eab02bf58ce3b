package ipvsadm

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/ipvslab/ipvslab/lb"
)

// yamlExport writes the services of a topology file.
type yamlExport struct{ exporter }

func newYAMLExport(opt ExportOptions, services []lb.Service) *yamlExport {
	e := &yamlExport{exporter{opt: opt}}
	if len(services) == 0 {
		e.f("services: {}\n")
	} else {
		e.f("services:\n")
	}
	return e
}

func (e *yamlExport) service(s *lb.Service) {
	e.f("  %s:\n", e.name(s.Key))
	if s.FWMark != 0 {
		e.f("    fwmark: %d\n", s.FWMark)
		if s.Family == lb.IPv6 {
			e.f("    family: ipv6\n")
		}
		e.marks(s)
	} else {
		e.f("    vip: %s\n    port: %d\n", quoted(s.Addr), s.Port)
		if s.Protocol != lb.TCP {
			e.f("    protocol: %s\n", s.Protocol)
		}
	}
	if d := known(e.opt.Directors, s.Key); len(d) > 0 {
		for i := range d {
			d[i] = scalar(d[i])
		}
		e.f("    directors: [%s]\n", strings.Join(d, ", "))
	}
	e.f("    scheduler: %s\n", s.Scheduler)
	e.flags(s)
	if s.Flags&lb.OnePacket != 0 {
		e.f("    onePacket: true\n")
	}
	e.persistence(s)
	if len(s.Destinations) > 0 {
		e.f("    realServers:\n")
	}
	used := map[string]bool{}
	for i := range s.Destinations {
		e.server(s, &s.Destinations[i], used)
	}
}

// name is a service's name as a YAML key.
func (e *yamlExport) name(k lb.Key) string {
	name := known(e.opt.Name, k)
	if name == "" {
		return serviceKey(k)
	}
	return scalar(name)
}

func (e *yamlExport) marks(s *lb.Service) {
	marks := known(e.opt.Marks, s.Key)
	if len(marks) == 0 {
		e.lose(s, nil, "which packets get the mark; add marks")
		return
	}
	e.f("    marks:\n")
	for _, m := range marks {
		e.f("      - {vip: %s, protocol: %s, ports: %d", quoted(m.Addr), m.Protocol, m.First)
		if m.Last != m.First {
			e.f("-%d", m.Last)
		}
		e.f("}\n")
	}
}

func (e *yamlExport) flags(s *lb.Service) {
	var words []string
	for _, w := range flagWords(s) {
		if strings.HasPrefix(w, "flag-") {
			e.lose(s, nil, "scheduler flag %s", w)
			continue
		}
		words = append(words, w)
	}
	if words != nil {
		e.f("    flags: [%s]\n", strings.Join(words, ", "))
	}
}

func (e *yamlExport) persistence(s *lb.Service) {
	if s.Timeout == 0 {
		if s.Engine != "" {
			e.lose(s, nil, "persistence engine %s without persistence", s.Engine)
		}
		return
	}
	e.f("    persistence: {timeout: %ds", int64(s.Timeout.Seconds()))
	if s.MaskBits != 0 {
		e.f(", mask: %d", s.MaskBits)
	}
	if s.OddMask.IsValid() {
		e.lose(s, nil, "persistence mask %s, which is no prefix", s.OddMask)
	}
	if s.Engine != "" {
		e.f(", engine: %s", s.Engine)
	}
	e.f("}\n")
}

func (e *yamlExport) server(s *lb.Service, d *lb.Destination, used map[string]bool) {
	node := known(e.opt.Node, d.Addr)
	if node == "" {
		node = "rs-" + label(d.Addr)
	}
	key := node
	fields := []string{"address: " + quoted(d.Addr)}
	if used[key] {
		key = fmt.Sprintf("%s-%d", node, d.Port)
		fields = append(fields, "node: "+scalar(node))
	}
	used[key] = true
	forward := map[lb.Forward]string{lb.NAT: "nat", lb.TUN: "tun", lb.DR: "dr"}[d.Forward]
	if forward == "" {
		e.lose(s, d, "the director is its own server; written as dr")
		forward = "dr"
	}
	fields = append(fields, "forwarding: "+forward)
	if d.Port != s.Port && d.Port != 0 {
		fields = append(fields, fmt.Sprintf("port: %d", d.Port))
	} else if d.Port != s.Port {
		e.lose(s, d, "port 0")
	}
	weight := d.Weight
	if weight > math.MaxUint16 {
		e.lose(s, d, "weight %d, above 65535", weight)
		weight = math.MaxUint16
	}
	fields = append(fields, fmt.Sprintf("weight: %d", weight))
	if d.Upper != 0 {
		fields = append(fields, fmt.Sprintf("upper: %d", d.Upper))
	}
	if d.Lower != 0 {
		fields = append(fields, fmt.Sprintf("lower: %d", d.Lower))
	}
	if d.Forward == lb.TUN && d.Tunnel != (lb.Tunnel{}) {
		fields = append(fields, "tunnel: "+yamlTunnel(&d.Tunnel))
	}
	e.f("      %s: {%s}\n", scalar(key), strings.Join(fields, ", "))
}

func yamlTunnel(t *lb.Tunnel) string {
	_, name := tunnelRules(t.Type)
	out := "{type: " + name
	if t.Type == lb.GUE {
		out += fmt.Sprintf(", port: %d", t.Port)
	}
	switch t.Flags {
	case encapChecksum:
		out += ", checksum: csum"
	case encapRemoteChecksum:
		out += ", checksum: remcsum"
	}
	return out + "}"
}

// serviceKey names a service after what it is, such as tcp-192-168-1-117-80.
func serviceKey(k lb.Key) string {
	switch {
	case k.FWMark != 0 && k.Family == lb.IPv6:
		return fmt.Sprintf("fwmark-%d-ipv6", k.FWMark)
	case k.FWMark != 0:
		return fmt.Sprintf("fwmark-%d", k.FWMark)
	}
	return fmt.Sprintf("%s-%s-%d", k.Protocol, label(k.Addr), k.Port)
}

// label is an address in letters, digits and dashes.
func label(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
}

// scalar is a name as YAML has it: in quotes if it would be something else.
func scalar(name string) string {
	text, err := yaml.Marshal(name)
	if err != nil { // never of a string
		return strconv.Quote(name)
	}
	return strings.TrimSpace(string(text))
}

// quoted is an address as a YAML scalar.
func quoted(a netip.Addr) string {
	if a.Is6() {
		return "'" + a.String() + "'"
	}
	return a.String()
}
