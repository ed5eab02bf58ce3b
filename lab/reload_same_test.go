package lab

import (
	"testing"

	"github.com/ipvslab/ipvslab/topology"
)

// Values are compared as they are on disk; what can't be there is an error, and
// not a value like another.
func TestSameJSON(t *testing.T) {
	type value struct {
		Origin string `json:"origin"`
		What   any    `json:"what"`
	}
	for _, c := range []struct {
		name        string
		a, b        any
		same, fails bool
	}{
		{"alike", value{"", 1}, value{"", 1}, true, false},
		{"of another rule", value{"a", value{"b", 1}}, value{"c", value{"d", 1}}, true, false},
		{"different", value{"", 1}, value{"", 2}, false, false},
		{"the first not a value", value{"", make(chan int)}, value{"", 1}, false, true},
		{"the second not a value", value{"", 1}, value{"", make(chan int)}, false, true},
		{"neither a value", make(chan int), make(chan int), false, true},
	} {
		if same, err := sameJSON(c.a, c.b); same != c.same || (err != nil) != c.fails {
			t.Errorf("%s: %v, %v", c.name, same, err)
		}
	}
	what, err := differing(topology.Node{Name: "a"}, topology.Node{Name: "b"})
	if len(what) != 1 || what[0] != "name" || err != nil {
		t.Errorf("nodes of different names differ in %q, %v", what, err)
	}
}
