package topology

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

func (s *DirectorSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		value(d, n, path, &s.Kind)
		return
	}
	object(d, n, path, s)
}

func (f *NodeFiles) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		f.Each.decode(d, n, path)
		return
	}
	value(d, n, path, &f.All)
	if f.All == "" && n.Tag == "!!str" {
		d.wrong(n, path, "a file's name, or a mapping of nodes to files")
	}
}

func (s *CheckSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		object(d, n, path, s)
		return
	}
	words := []string{"tcp", "http", "udp", "grpc"}
	switch n.Value {
	case "tcp":
		s.TCP = true
	case "http":
		s.HTTP = &HTTPCheckSpec{}
	case "udp":
		s.UDP = &UDPCheckSpec{}
	case "grpc":
		s.GRPC = &GRPCCheckSpec{}
	default:
		d.fail(n, path, choices(n.Value, words), "found %q", n.Value)
	}
}

func isTrue(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!bool" && n.Value == "true"
}

func (s *HTTPCheckSpec) decode(d *decoder, n *yaml.Node, path string) {
	switch {
	case isTrue(n):
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str":
		s.Path = n.Value
	default:
		object(d, n, path, s)
	}
}

func (s *UDPCheckSpec) decode(d *decoder, n *yaml.Node, path string) {
	if !isTrue(n) {
		object(d, n, path, s)
	}
}

func (s *GRPCCheckSpec) decode(d *decoder, n *yaml.Node, path string) {
	switch {
	case isTrue(n):
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str":
		s.Service = n.Value
	default:
		object(d, n, path, s)
	}
}

func (s *SorryServerSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		s.Node = n.Value
		return
	}
	object(d, n, path, s)
}

func (r *StatusRange) decode(d *decoder, n *yaml.Node, path string) {
	first, last, isRange := strings.Cut(n.Value, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.Atoi(strings.TrimSpace(first))
	hi, err2 := strconv.Atoi(strings.TrimSpace(last))
	if n.Kind != yaml.ScalarNode || err1 != nil || err2 != nil || lo < 100 || hi > 599 || hi < lo {
		d.wrong(n, path, "a status from 100 to 599, or a range such as 200-299")
		return
	}
	*r = StatusRange{First: lo, Last: hi}
}
