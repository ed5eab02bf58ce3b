package assertions

import (
	"errors"
	"fmt"
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
	// Strange are those of the unanswered with whom somebody has spoken: their
	// handshake came to its end, or they got an answer that is none.
	Strange int
	// Notes are added to a failure: who was asked, and how.
	Notes []string
}

// AgreeOn succeeds when every witness counts exactly the given connections per
// real server, and none is unanswered. Its actual is a [Witnesses].
func AgreeOn(want map[string]int) types.GomegaMatcher { return &agreeOn{want} }

type agreeOn struct{ want map[string]int }

// Match implements types.GomegaMatcher.
func (m *agreeOn) Match(actual any) (bool, error) {
	w, ok := actual.(Witnesses)
	if !ok {
		return false, fmt.Errorf("AgreeOn takes a Witnesses, not %T", actual)
	}
	if len(w.asked()) == 0 {
		return false, errors.New("AgreeOn got no witness: Client, Servers and Kernel are all nil")
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

// FailureMessage implements types.GomegaMatcher.
func (m *agreeOn) FailureMessage(actual any) string {
	w := actual.(Witnesses)
	return "the witnesses do not agree on the expected distribution:\n" + w.table(m.want) + notes([]string{w.reading(m.want)}) + notes(w.Notes)
}

// NegatedFailureMessage implements types.GomegaMatcher.
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

// notes are further lines of a message; empty ones are left out.
func notes(ns []string) string {
	var b strings.Builder
	for _, n := range ns {
		if n != "" {
			b.WriteString("\n  " + n)
		}
	}
	return b.String()
}
