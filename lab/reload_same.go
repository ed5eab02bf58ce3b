package lab

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/topology"
)

// sameLab tells whether two plans differ in nothing that Up alone can make.
func sameLab(a, b *topology.Plan) error {
	var other, items []string
	if a.Name != b.Name {
		other = append(other, fmt.Sprintf("the name (%s, %s)", a.Name, b.Name))
	}
	switch same, err := sameJSON(a.Networks, b.Networks); {
	case err != nil:
		return fmt.Errorf("compare networks: %w", err)
	case !same:
		other = append(other, "networks")
	}
	for i := range a.Nodes {
		at := slices.IndexFunc(b.Nodes, func(n topology.Node) bool { return n.Name == a.Nodes[i].Name })
		if at < 0 {
			other = append(other, "node "+a.Nodes[i].Name+" (it is gone)")
			continue
		}
		what, err := differing(a.Nodes[i], b.Nodes[at])
		if err != nil {
			return fmt.Errorf("compare node %s: %w", a.Nodes[i].Name, err)
		}
		if len(what) > 0 {
			other = append(other, fmt.Sprintf("node %s (%s)", a.Nodes[i].Name, strings.Join(what, ", ")))
			items = append(items, otherItems(&a.Nodes[i], &b.Nodes[at])...)
		}
	}
	for i := range b.Nodes {
		if !slices.ContainsFunc(a.Nodes, func(n topology.Node) bool { return n.Name == b.Nodes[i].Name }) {
			other = append(other, "node "+b.Nodes[i].Name+" (it is new)")
		}
	}
	if len(other) == 0 {
		return nil
	}
	err := fmt.Errorf("%w: the file differs from what is up in %s; nothing was done: take the lab down and up again for that", ErrOtherLab, strings.Join(other, "; "))
	if more := len(items) - shownItems; more > 0 {
		items = append(items[:shownItems], fmt.Sprintf("and %d more", more))
	}
	if len(items) > 0 {
		err = fmt.Errorf("%w\n%s", err, indent(strings.Join(items, "\n")))
	}
	return err
}

// shownItems bounds how many lines tell what differs.
const shownItems = 20

// otherItems are the lines in which two nodes differ, and the rules that they
// come from: why a service needs something of a node.
func otherItems(a, b *topology.Node) (out []string) {
	up, file := topology.DescribeNode(a), topology.DescribeNode(b)
	only := func(lines, others []string, where string) {
		for _, line := range lines {
			if !slices.ContainsFunc(others, func(o string) bool { return withoutRule(o) == withoutRule(line) }) {
				out = append(out, fmt.Sprintf("%s, %s: %s", a.Name, where, line))
			}
		}
	}
	only(up, file, "up")
	only(file, up, "the file")
	return out
}

func withoutRule(line string) string {
	item, _, _ := strings.Cut(line, " # ")
	return item
}

// sameJSON compares values of a plan as they are on disk, but for the rule that
// each thing comes from.
func sameJSON(a, b any) (bool, error) {
	x, err := plain(a)
	if err != nil {
		return false, err
	}
	y, err := plain(b)
	return reflect.DeepEqual(x, y), err
}

func plain(v any) (out any, err error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, err
	}
	return withoutOrigin(out), nil
}

func withoutOrigin(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "origin")
		for _, sub := range v {
			withoutOrigin(sub)
		}
	case []any:
		for _, sub := range v {
			withoutOrigin(sub)
		}
	}
	return v
}

// differing names the fields in which two nodes differ.
func differing(a, b topology.Node) (out []string, err error) {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		name := strings.ToLower(x.Type().Field(i).Name)
		switch same, err := sameJSON(x.Field(i).Interface(), y.Field(i).Interface()); {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		case !same:
			out = append(out, name)
		}
	}
	return out, nil
}
