package assertions

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/onsi/gomega/types"
)

// Witnesses are three independent counts of the same connections, by the name
// of the real server: what the client was answered, what each real server
// accepted, and what the director's kernel counts. A nil witness was not asked.
type Witnesses struct {
	Client  map[string]int
	Servers map[string]int
	Kernel  map[string]int
	// Unanswered are connections that got no answer. They must be none.
	Unanswered int
	// Notes are added to a failure: who was asked, and how.
	Notes []string
}

// AgreeOn succeeds when every witness counts exactly the given connections per
// real server, and none is unanswered. Its actual is a [Witnesses].
func AgreeOn(want map[string]int) types.GomegaMatcher { return &agreeOn{want} }

type agreeOn struct{ want map[string]int }

func (m *agreeOn) Match(actual any) (bool, error) {
	w, ok := actual.(Witnesses)
	if !ok {
		return false, fmt.Errorf("AgreeOn takes a Witnesses, not %T", actual)
	}
	for _, counts := range w.asked() {
		if !sameCounts(counts, m.want) {
			return false, nil
		}
	}
	return w.Unanswered == 0, nil
}

func (w Witnesses) asked() []map[string]int {
	var asked []map[string]int
	for _, c := range []map[string]int{w.Client, w.Servers, w.Kernel} {
		if c != nil {
			asked = append(asked, c)
		}
	}
	return asked
}

// sameCounts takes a missing name for zero.
func sameCounts(a, b map[string]int) bool {
	for _, k := range keysOf(a, b) {
		if a[k] != b[k] {
			return false
		}
	}
	return true
}

func (m *agreeOn) FailureMessage(actual any) string {
	w := actual.(Witnesses)
	return "the witnesses do not agree on the expected distribution:\n" + w.table(m.want) + w.reading(m.want) + notes(w.Notes)
}

func (m *agreeOn) NegatedFailureMessage(actual any) string {
	return "the witnesses agree, though they should not:\n" + actual.(Witnesses).table(m.want)
}

func (w Witnesses) table(want map[string]int) string {
	rows := [][]string{{"real server", "expected", "client", "servers", "kernel"}}
	for _, name := range keysOf(want, w.Client, w.Servers, w.Kernel) {
		rows = append(rows, []string{name, strconv.Itoa(want[name]), cell(w.Client, name), cell(w.Servers, name), cell(w.Kernel, name)})
	}
	if w.Unanswered > 0 {
		rows = append(rows, []string{"(unanswered)", "0", strconv.Itoa(w.Unanswered), "", ""})
	}
	return table(rows...)
}

func cell(counts map[string]int, name string) string {
	if counts == nil {
		return "-"
	}
	return strconv.Itoa(counts[name])
}

// reading says what the pattern of disagreement usually means.
func (w Witnesses) reading(want map[string]int) string {
	c, s, k := sameCounts(w.Client, want), sameCounts(w.Servers, want), sameCounts(w.Kernel, want)
	var text string
	switch {
	case w.Servers != nil && w.Kernel != nil && maps.Equal(nonZero(w.Client), nonZero(w.Servers)) && maps.Equal(nonZero(w.Servers), nonZero(w.Kernel)):
		text = "all three agree with each other: the distribution is real, and not the expected one; look at weights, scheduler and flags in the director's table"
	case w.Unanswered > 0 && w.Kernel != nil && k && !s:
		text = "the director sent connections on that no real server accepted: look for a server that does not listen, and at the way there"
	case w.Unanswered > 0 && s:
		text = "the real servers accepted what the client saw no answer to: look at the answers' way back"
	case c && s && !k:
		text = "client and servers agree, the director's kernel does not: traffic goes past the director, or its table was changed meanwhile"
	case c && k && !s:
		text = "only the servers' count is off: somebody else visits them, or another server answers under their name"
	case s && k && !c:
		text = "only the client's count is off: two real servers may answer under one name"
	default:
		return ""
	}
	return "\n  " + text
}

func nonZero(m map[string]int) map[string]int {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_ string, n int) bool { return n == 0 })
	return out
}

func notes(ns []string) string {
	if len(ns) == 0 {
		return ""
	}
	return "\n  " + strings.Join(ns, "\n  ")
}
