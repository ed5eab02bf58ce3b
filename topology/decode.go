package topology

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// The bounds on what a file may expand to. A thousand hand-written nodes stay
// well below; an alias bomb does not.
const (
	maxBytes  = 1 << 20
	maxValues = 250_000
	maxDepth  = 32
	maxFaults = 500
)

// coreTags are what the parser calls plain YAML.
var coreTags = map[string]bool{
	"!!map": true, "!!seq": true, "!!str": true, "!!int": true, "!!float": true, "!!bool": true,
	"!!null": true, "!!timestamp": true, "!!merge": true,
}

// decoder turns a YAML tree into the file's types. It goes on after a mistake,
// and it remembers where each path was said.
type decoder struct {
	file     string
	pos      map[string]Pos
	problems Problems
	values   int
	depth    int
	stopped  bool
}

// shorthand is a type with forms of its own beside that of its kind.
type shorthand interface {
	decode(d *decoder, n *yaml.Node, path string)
}

// limits is a field's range, from its jsonschema tag.
type limits struct{ min, max *int64 }

func (d *decoder) at(n *yaml.Node) Pos { return Pos{File: d.file, Line: n.Line, Column: n.Column} }

func (d *decoder) fail(n *yaml.Node, path, hint, format string, args ...any) {
	if d.stopped {
		return
	}
	d.problems = append(d.problems, Problem{
		Severity: Error, Pos: d.at(n), Path: path, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
	if len(d.problems) == maxFaults {
		d.problems = append(d.problems, Problem{
			Severity: Error, Pos: d.at(n), Message: "too many mistakes; the rest of the file was not read",
		})
		d.stopped = true
	}
}

// wrong reports a value of the wrong type.
func (d *decoder) wrong(n *yaml.Node, path, want string) {
	d.fail(n, path, "allowed: "+want, "found %s", describeNode(n))
}

// enter follows an alias and keeps the bounds. The caller calls leave if it is true.
func (d *decoder) enter(n *yaml.Node, path string) (*yaml.Node, bool) {
	if d.stopped {
		return nil, false
	}
	for hops := 0; n.Kind == yaml.AliasNode && hops < maxDepth; hops++ {
		n = n.Alias
	}
	if n.Tag != "" && !coreTags[n.Tag] {
		d.fail(n, path, "leave the tag out", "found the tag %s, which has no meaning here", n.Tag)
	}
	d.values++
	if d.values > maxValues {
		d.fail(n, "", "use fewer aliases, or replicas", "the file expands to more than %d values", maxValues)
		d.stopped = true
		return nil, false
	}
	if d.depth >= maxDepth {
		d.fail(n, path, "", "nested deeper than %d levels", maxDepth)
		d.stopped = true
		return nil, false
	}
	d.depth++
	return n, true
}

func (d *decoder) leave() { d.depth-- }

// value decodes a node into v, by v's type.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	n, ok := d.enter(n, path)
	if !ok {
		return
	}
	defer d.leave()
	if _, known := d.pos[path]; !known || n.Kind == yaml.ScalarNode {
		d.pos[path] = d.at(n)
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if s, ok := v.Addr().Interface().(shorthand); ok {
		s.decode(d, n, path)
		return
	}
	d.plain(n, path, v)
}

// plain decodes by kind, without shorthands.
func (d *decoder) plain(n *yaml.Node, path string, v reflect.Value) {
	if scalarType(v.Type()) {
		d.scalar(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, path, v)
	case reflect.Slice:
		d.list(n, path, v)
	default:
		panic("topology: no decoder for " + v.Type().String())
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		want := "a list"
		if n.Kind == yaml.ScalarNode && v.Type().Elem().Kind() == reflect.String {
			want += ", such as [" + strings.Join(strings.Fields(n.Value), ", ") + "]"
		}
		d.wrong(n, path, want)
		return
	}
	for i, item := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(item, path+"["+strconv.Itoa(i)+"]", e)
		v.Set(reflect.Append(v, e))
	}
}

func (d *decoder) object(n *yaml.Node, path string, v reflect.Value) {
	fields, names := fieldsOf(v.Type())
	seen := map[string]bool{}
	for _, p := range d.pairs(n, path, "a mapping with "+strings.Join(names, ", ")) {
		f, ok := fields[p.key.Value]
		if path == "" && strings.HasPrefix(p.key.Value, "x-") {
			continue // a place to keep anchors, as in compose files
		}
		if !ok {
			d.fail(p.key, join(path, p.key.Value), choices(p.key.Value, names), "unknown key %q", p.key.Value)
			continue
		}
		seen[f.name] = true
		sub := join(path, f.name)
		d.pos[sub] = d.at(p.key)
		before := len(d.problems)
		d.value(p.value, sub, v.Field(f.index))
		if len(d.problems) == before {
			d.limit(p.value, sub, v.Field(f.index), f.limits)
		}
	}
	for _, name := range names {
		if fields[name].required && !seen[name] {
			d.fail(n, path, "", "key %q is missing", name)
		}
	}
}

// limit holds an integer against its field's range.
func (d *decoder) limit(n *yaml.Node, path string, v reflect.Value, l limits) {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	var got int64
	switch {
	case v.CanInt():
		got = v.Int()
	case v.CanUint():
		got = int64(v.Uint())
	default:
		return
	}
	if l.min != nil && got < *l.min || l.max != nil && got > *l.max {
		d.fail(n, path, "allowed: "+l.String(), "found %d", got)
	}
}

func (l limits) String() string {
	switch {
	case l.max == nil:
		return fmt.Sprintf("%d or more", *l.min)
	case l.min == nil:
		return fmt.Sprintf("at most %d", *l.max)
	}
	return fmt.Sprintf("%d to %d", *l.min, *l.max)
}
