package topology

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"
)

var (
	addrType   = reflect.TypeFor[netip.Addr]()
	prefixType = reflect.TypeFor[netip.Prefix]()
)

func scalarType(t reflect.Type) bool {
	if t == addrType || t == prefixType {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return true
	}
	return false
}

func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = d.addr(n, path)
		return
	case *netip.Prefix:
		*p = d.prefix(n, path)
		return
	case *bool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(p) != nil {
			d.wrong(n, path, "true or false")
		}
		return
	case enumerated:
		d.enum(n, path, v, p)
		return
	}
	switch {
	case v.Kind() == reflect.String:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			d.wrong(n, path, "a text (in quotes, if it looks like something else)")
			return
		}
		v.SetString(n.Value)
	case v.CanInt():
		v.SetInt(d.integer(n, path, -1<<31, 1<<31-1))
	default:
		v.SetUint(uint64(d.integer(n, path, 0, 1<<v.Type().Bits()-1)))
	}
}

// octalLike is octal to YAML 1.1, decimal to YAML 1.2 and to most people.
var octalLike = regexp.MustCompile(`^[-+]?0[0-9_]+$`)

func (d *decoder) integer(n *yaml.Node, path string, least, most int64) int64 {
	var i int64
	if n.Kind == yaml.ScalarNode && octalLike.MatchString(n.Value) {
		d.fail(n, path, "write it without the 0 in front, or with 0o if octal is meant", "found %q, which is octal to some and decimal to others", n.Value)
		return max(least, 0)
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&i) != nil || i < least || i > most {
		want := fmt.Sprintf("an integer from %d to %d", least, most)
		if least < 0 {
			want = "an integer"
		}
		d.wrong(n, path, want)
		return max(least, 0)
	}
	return i
}

func (d *decoder) enum(n *yaml.Node, path string, v reflect.Value, e enumerated) {
	words := e.allowed()
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		for _, w := range words {
			if n.Value == w {
				v.SetString(w)
				return
			}
		}
		d.fail(n, path, choices(n.Value, words), "found %q", n.Value)
		return
	}
	d.wrong(n, path, strings.Join(words, ", "))
}

func (d *decoder) addr(n *yaml.Node, path string) netip.Addr {
	const want = "an address, such as 10.0.0.1 or fd00::1"
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrong(n, path, want)
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(n.Value)
	if err != nil {
		d.fail(n, path, "allowed: "+want, "found %q: %s", n.Value, reason(err))
		return netip.Addr{}
	}
	return d.usable(n, path, a)
}

// usable refuses what no interface of a lab can have.
func (d *decoder) usable(n *yaml.Node, path string, a netip.Addr) netip.Addr {
	switch {
	case a.Zone() != "":
		d.fail(n, path, "leave the zone out", "found %q, an address with a zone", n.Value)
	case a.Is4In6():
		d.fail(n, path, "write "+a.Unmap().String(), "found %q, an IPv4-mapped IPv6 address", n.Value)
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		d.fail(n, path, "allowed: a unicast address", "found %q, which is no unicast address", n.Value)
	default:
		return a
	}
	return netip.Addr{}
}

func (d *decoder) prefix(n *yaml.Node, path string) netip.Prefix {
	const want = "a prefix, such as 10.0.0.0/24 or fd00::/64"
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrong(n, path, want)
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(n.Value)
	if err != nil {
		d.fail(n, path, "allowed: "+want, "found %q: %s", n.Value, reason(err))
		return netip.Prefix{}
	}
	if p.Addr().Is4In6() {
		d.fail(n, path, "write it as IPv4", "found %q, an IPv4-mapped IPv6 prefix", n.Value)
		return netip.Prefix{}
	}
	if p != p.Masked() {
		d.fail(n, path, "write "+p.Masked().String(), "found %q, which has bits set behind the mask", n.Value)
		return netip.Prefix{}
	}
	return p
}

// duration decodes a time span.
func (d *decoder) duration(n *yaml.Node, path string) time.Duration {
	const want = "a time span, such as 500ms, 6m or a number of seconds"
	if n.Kind != yaml.ScalarNode {
		d.wrong(n, path, want)
		return 0
	}
	if n.Tag == "!!int" {
		return time.Duration(d.integer(n, path, 0, 1<<31-1)) * time.Second
	}
	t, err := time.ParseDuration(n.Value)
	if err != nil || t < 0 {
		d.wrong(n, path, want)
		return 0
	}
	return t
}

// reason is netip's error without the input, which the report has already.
func reason(err error) string {
	msg := err.Error()
	if i := strings.LastIndex(msg, "): "); i >= 0 {
		return msg[i+3:]
	}
	return strings.TrimPrefix(msg[strings.LastIndex(msg, `"`)+1:], ": ")
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func describeNode(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	const most = 60
	text := n.Value
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	switch n.Tag {
	case "!!str":
		return "the text " + strconv.Quote(text)
	case "!!bool":
		return "the truth value " + text
	case "!!int", "!!float":
		return "the number " + text
	}
	return strconv.Quote(text)
}

// field is what the decoder knows of a struct's field.
type field struct {
	name     string
	index    int
	required bool
	limits   limits
}

var fieldCache sync.Map // reflect.Type -> fieldSet

type fieldSet struct {
	byName map[string]field
	names  []string // in the order of the type
}

// fieldsOf reads a file type's tags: the json name, whether it may be left
// out, and the jsonschema range. The schema is made of the same tags.
func fieldsOf(t reflect.Type) (map[string]field, []string) {
	if got, ok := fieldCache.Load(t); ok {
		fs := got.(fieldSet)
		return fs.byName, fs.names
	}
	fs := fieldSet{byName: map[string]field{}}
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("json")
		if !ok {
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		f := field{name: name, index: i, required: opts == ""}
		for _, kw := range strings.Split(t.Field(i).Tag.Get("jsonschema"), ",") {
			key, text, _ := strings.Cut(kw, "=")
			n, err := strconv.ParseInt(text, 10, 64)
			switch {
			case err != nil:
			case key == "minimum":
				f.limits.min = &n
			case key == "maximum":
				f.limits.max = &n
			}
		}
		fs.byName[name], fs.names = f, append(fs.names, name)
	}
	fieldCache.Store(t, fs)
	return fs.byName, fs.names
}
