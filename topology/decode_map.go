package topology

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

type pair struct{ key, value *yaml.Node }

// pairs are a mapping's keys and values in order, merge keys (<<) resolved:
// the mapping's own keys win, then the earlier merged mapping. A key that
// stands twice in one mapping is a mistake.
func (d *decoder) pairs(n *yaml.Node, path, want string) []pair {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, want)
		return nil
	}
	var out, merged []pair
	own := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		switch {
		case k.Kind != yaml.ScalarNode || isNull(k):
			d.fail(k, path, "allowed: a plain word as a key", "found %s as a key", describeNode(k))
		case k.Tag == "!!merge":
			merged = append(merged, d.merge(v, path)...)
		case own[k.Value] != nil:
			d.fail(k, join(path, k.Value), "", "key %q is there twice; the first is in line %d", k.Value, own[k.Value].Line)
		default:
			own[k.Value] = k
			out = append(out, pair{k, v})
		}
	}
	for _, p := range merged {
		if own[p.key.Value] == nil {
			own[p.key.Value] = p.key
			out = append(out, p)
		}
	}
	return out
}

// merge is what << brings: a mapping, or a list of them.
func (d *decoder) merge(n *yaml.Node, path string) []pair {
	n, ok := d.enter(n, path)
	if !ok {
		return nil
	}
	defer d.leave()
	if n.Kind != yaml.SequenceNode {
		return d.pairs(n, path, "a mapping to merge")
	}
	var out []pair
	for _, item := range n.Content {
		out = append(out, d.merge(item, path)...)
	}
	return out
}

// join appends a key to a path; a key that is not one plain word is quoted.
func join(path, key string) string {
	if strings.ContainsAny(key, ".[] \t\n\"") || key == "" {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
