package assertions

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/ipvslab/ipvslab/lb"
)

// HoldServices succeeds when a table holds exactly the given services and
// destinations, whatever their order and counters. Its actual is a
// []lb.Service as lb.Table.List gives it.
func HoldServices(want ...lb.Service) types.GomegaMatcher { return &holdServices{want: want} }

type holdServices struct {
	want        []lb.Service
	differences []string
}

// Match implements types.GomegaMatcher.
func (m *holdServices) Match(actual any) (bool, error) {
	got, ok := actual.([]lb.Service)
	if !ok {
		return false, fmt.Errorf("HoldServices takes a []lb.Service, not %T", actual)
	}
	m.differences = lb.Differences(got, m.want, lb.DiffOptions{Foreign: lb.TakeOver})
	return len(m.differences) == 0, nil
}

// FailureMessage implements types.GomegaMatcher.
func (m *holdServices) FailureMessage(any) string {
	return "the director's table is not as planned:\n    " + strings.Join(m.differences, "\n    ")
}

// NegatedFailureMessage implements types.GomegaMatcher.
func (m *holdServices) NegatedFailureMessage(any) string { return "the table is as planned" }
