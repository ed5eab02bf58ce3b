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
	want    []lb.Service
	changes []lb.Change
}

func (m *holdServices) Match(actual any) (bool, error) {
	got, ok := actual.([]lb.Service)
	if !ok {
		return false, fmt.Errorf("HoldServices takes a []lb.Service, not %T", actual)
	}
	m.changes = lb.Diff(got, m.want, lb.DiffOptions{Foreign: lb.TakeOver})
	return len(m.changes) == 0, nil
}

func (m *holdServices) FailureMessage(any) string {
	lines := make([]string, len(m.changes))
	for i, c := range m.changes {
		lines[i] = c.String()
	}
	return "the table is not as planned; it would take:\n    " + strings.Join(lines, "\n    ")
}

func (m *holdServices) NegatedFailureMessage(any) string { return "the table is as planned" }
