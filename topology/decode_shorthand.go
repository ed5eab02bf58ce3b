package topology

import (
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// object decodes a mapping into a struct that has shorthands of its own.
func object[T any](d *decoder, n *yaml.Node, path string, v *T) {
	d.object(n, path, reflect.ValueOf(v).Elem())
}

func value[T any](d *decoder, n *yaml.Node, path string, v *T) {
	d.value(n, path, reflect.ValueOf(v).Elem())
}

func (o *Ordered[V]) decode(d *decoder, n *yaml.Node, path string) {
	want := "a mapping"
	if n.Kind == yaml.SequenceNode {
		want = "a mapping in place of the list, {NAME: {…}, NAME: {…}}"
	}
	for _, p := range d.pairs(n, path, want) {
		e := Entry[V]{Key: p.key.Value}
		sub := join(path, e.Key)
		d.pos[sub] = d.at(p.key)
		value(d, p.value, sub, &e.Value)
		*o = append(*o, e)
	}
}

func (l *List[V]) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.SequenceNode || isNull(n) {
		d.list(n, path, reflect.ValueOf(l).Elem())
		return
	}
	var one V
	value(d, n, path, &one)
	*l = List[V]{one}
}

func (s *NetworkSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode || isNull(n) {
		object(d, n, path, s)
		return
	}
	value(d, n, path, &s.Prefixes)
}

func (s *InterfaceSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode || isNull(n) {
		object(d, n, path, s)
		return
	}
	value(d, n, path, &s.Addresses)
}

func (s *CommandSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.SequenceNode {
		value(d, n, path, &s.Argv)
		return
	}
	object(d, n, path, s)
}

func (s *ServeSpec) decode(d *decoder, n *yaml.Node, path string) {
	*s = ServeSpec{}
	if n.Kind == yaml.ScalarNode && n.Value == "none" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, path, "none, or a list such as [{http: 80}, {udp: 53}]")
		return
	}
	d.list(n, path, reflect.ValueOf(s).Elem())
}

func (s *PersistenceSpec) decode(d *decoder, n *yaml.Node, path string) {
	switch {
	case n.Kind == yaml.MappingNode:
		object(d, n, path, s)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!bool" && n.Value == "true":
	default:
		s.Timeout = Duration(d.duration(n, path))
	}
}

func (s *TunnelSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		value(d, n, path, &s.Type)
		return
	}
	object(d, n, path, s)
}

func (s *RealServers) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode || isNull(n) {
		(*Ordered[RealServerSpec])(s).decode(d, n, path)
		return
	}
	for _, name := range d.names(n, path) {
		*s = append(*s, Entry[RealServerSpec]{Key: name})
	}
}

// names are those of a list that stands for a mapping, each once.
func (d *decoder) names(n *yaml.Node, path string) (names []string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	first := map[string]int{}
	for i, item := range items {
		var name string
		sub := path + "[" + strconv.Itoa(i) + "]"
		before := len(d.problems)
		if item.Kind == yaml.MappingNode {
			d.wrong(item, sub, "a node's name; to say more of them write a mapping in place of the list, {NODE: {…}, NODE: {…}}")
			continue
		}
		value(d, item, sub, &name)
		if line, twice := first[name]; twice {
			d.fail(item, sub, "", "%q is there twice; the first is in line %d", name, line)
		}
		if len(d.problems) > before {
			continue
		}
		first[name] = item.Line
		d.pos[join(path, name)] = d.at(item)
		names = append(names, name)
	}
	return names
}

func (s *GroupDirectors) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode || isNull(n) {
		(*Ordered[GroupDirectorSpec])(s).decode(d, n, path)
		return
	}
	for _, name := range d.names(n, path) {
		*s = append(*s, Entry[GroupDirectorSpec]{Key: name})
	}
}

func (s *GroupDirectorSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		value(d, n, path, &s.Priority)
		d.limit(n, path, reflect.ValueOf(s.Priority), limitsOf[GroupDirectorSpec]("priority"))
		return
	}
	object(d, n, path, s)
}

func (s *SyncSpec) decode(d *decoder, n *yaml.Node, path string) {
	switch {
	case n.Kind != yaml.ScalarNode || isNull(n):
		object(d, n, path, s)
	case n.Tag == "!!bool" && n.Value == "true":
		s.Mode = SyncName(SyncFollow)
	case n.Tag == "!!bool" && n.Value == "false":
		s.Mode = "none"
	default:
		value(d, n, path, &s.Mode)
	}
}

func (s *RealServerSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		value(d, n, path, &s.Weight)
		d.limit(n, path, reflect.ValueOf(s.Weight), limitsOf[RealServerSpec]("weight"))
		return
	}
	object(d, n, path, s)
}

// limitsOf are those of a field that is also said alone.
func limitsOf[T any](field string) limits {
	fields, _ := fieldsOf(reflect.TypeFor[T]())
	return fields[field].limits
}

func (s *TrafficSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		value(d, n, path, &s.Connections)
		if s.Connections < 1 {
			d.wrong(n, path, "1 or more")
		}
		return
	}
	object(d, n, path, s)
}

func (s *ExpectSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		object(d, n, path, s)
		return
	}
	if n.Value == "predicted" {
		s.Distribution = "predicted"
		return
	}
	words := append([]string{"predicted"}, OutcomeName("").allowed()...)
	for _, w := range words {
		if n.Value == w {
			s.Outcome = OutcomeName(w)
			return
		}
	}
	d.fail(n, path, choices(n.Value, words), "found %q", n.Value)
}

func (s *FaultSpec) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		object(d, n, path, s)
		return
	}
	f, err := ParseTimedFault(n.Value)
	if err != nil {
		d.fail(n, path, "write it as `ipvslab fault` takes it, with the time in front, or as a mapping", "%v", err)
		return
	}
	*s = FaultSpec{
		At: Duration(f.At), Do: f.Do, Node: f.Node, Process: f.Process, Interface: f.Interface, With: f.With,
		Direction: DirectionName(f.Direction), Loss: Percent(f.Loss), Delay: Duration(f.Delay), Jitter: Duration(f.Jitter),
	}
}

func (p *Percent) decode(d *decoder, n *yaml.Node, path string) {
	v, err := parsePercent(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.wrong(n, path, "a percentage from 0% to 100%")
		return
	}
	*p = Percent(v)
}

func (t *Duration) decode(d *decoder, n *yaml.Node, path string) { *t = Duration(d.duration(n, path)) }

func (v *SysctlValue) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrong(n, path, "a plain value")
		return
	}
	*v = SysctlValue(n.Value)
}

func (a *AddressSpec) decode(d *decoder, n *yaml.Node, path string) {
	a.Bits = -1
	text, bits, has := strings.Cut(n.Value, "/")
	if n.Kind != yaml.ScalarNode || !has {
		a.Addr = d.addr(n, path)
		return
	}
	p, err := netip.ParsePrefix(n.Value)
	if err != nil {
		d.fail(n, path, "allowed: an address with or without a prefix length, such as 10.0.0.1/24",
			"found %q, of which %q or /%s is not one", n.Value, text, bits)
		return
	}
	if a.Addr = d.usable(n, path, p.Addr()); a.Addr.IsValid() {
		a.Bits = p.Bits()
	}
}

func (r *RouteTarget) decode(d *decoder, n *yaml.Node, path string) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == "default":
	case n.Kind == yaml.ScalarNode && !strings.Contains(n.Value, "/"):
		a, err := netip.ParseAddr(n.Value)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			d.wrong(n, path, "a prefix, an address, or default")
			return
		}
		r.Prefix = netip.PrefixFrom(a, a.BitLen())
	default:
		r.Prefix = d.prefix(n, path)
	}
}

func (r *PortRange) decode(d *decoder, n *yaml.Node, path string) {
	const want = "a port from 1 to 65535, or a range such as 8000-8010"
	first, last, isRange := strings.Cut(n.Value, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	hi, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if n.Kind != yaml.ScalarNode || err1 != nil || err2 != nil || lo == 0 || hi < lo {
		d.wrong(n, path, want)
		return
	}
	*r = PortRange{First: uint16(lo), Last: uint16(hi)}
}

func (h *HardwareAddr) decode(d *decoder, n *yaml.Node, path string) {
	mac, err := net.ParseMAC(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		d.wrong(n, path, "a unicast Ethernet address, such as 02:00:00:00:00:01")
		return
	}
	*h = HardwareAddr(mac.String())
}
