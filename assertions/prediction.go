package assertions

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"
)

// Refused is how a prediction or an observation names a connection that no
// real server got.
const Refused = "(refused)"

// FollowPrediction succeeds when the picks are the predicted ones, one by one.
// Its actual is a []string of names in the order of opening. Context lines,
// such as the model's state, are added to a failure.
func FollowPrediction(want []string, context ...string) types.GomegaMatcher {
	return &followPrediction{want, context}
}

type followPrediction struct{ want, context []string }

// Match implements types.GomegaMatcher.
func (m *followPrediction) Match(actual any) (bool, error) {
	got, ok := actual.([]string)
	if !ok {
		return false, fmt.Errorf("FollowPrediction takes a []string, not %T", actual)
	}
	if len(m.want) == 0 {
		return false, errors.New("FollowPrediction got an empty prediction, which proves nothing")
	}
	return slices.Equal(got, m.want), nil
}

// FailureMessage implements types.GomegaMatcher.
func (m *followPrediction) FailureMessage(actual any) string {
	got := actual.([]string)
	at := 0
	for at < len(got) && at < len(m.want) && got[at] == m.want[at] {
		at++
	}
	what := fmt.Sprintf("connection %d of %d went to %s, the scheduler's model says %s", at+1, len(m.want), nth(got, at), nth(m.want, at))
	if at == len(m.want) || at == len(got) {
		what = fmt.Sprintf("%d connections were predicted, %d observed; the first %d are as predicted", len(m.want), len(got), at)
	}
	return what + "\n  predicted: " + excerpt(m.want, at) + "\n  observed:  " + excerpt(got, at) + notes(m.context)
}

// NegatedFailureMessage implements types.GomegaMatcher.
func (m *followPrediction) NegatedFailureMessage(any) string {
	return "the picks are the predicted ones: " + excerpt(m.want, 0)
}

// nth is empty past the end, where the message says something else.
func nth(names []string, i int) string {
	if i >= len(names) {
		return ""
	}
	return names[i]
}

// excerpt shows the names around one of them.
func excerpt(names []string, at int) string {
	from, to := max(at-8, 0), min(at+9, len(names))
	if from >= to {
		return "(none)"
	}
	s := strings.Join(names[from:to], " ")
	if from > 0 {
		s = "... " + s
	}
	if to < len(names) {
		s += " ..."
	}
	return s
}
