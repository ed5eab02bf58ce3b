package assertions

import (
	"fmt"
	"reflect"
	"slices"
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
	got     []lb.Service
	changes []lb.Change
}

// Match implements types.GomegaMatcher.
func (m *holdServices) Match(actual any) (bool, error) {
	got, ok := actual.([]lb.Service)
	if !ok {
		return false, fmt.Errorf("HoldServices takes a []lb.Service, not %T", actual)
	}
	m.got, m.changes = got, lb.Diff(got, m.want, lb.DiffOptions{Foreign: lb.TakeOver})
	return len(m.changes) == 0, nil
}

// FailureMessage implements types.GomegaMatcher.
func (m *holdServices) FailureMessage(any) string {
	lines := make([]string, len(m.changes))
	for i, c := range m.changes {
		lines[i] = m.difference(c)
	}
	return "the director's table is not as planned:\n    " + strings.Join(lines, "\n    ")
}

// difference says what a change would mend.
func (m *holdServices) difference(c lb.Change) string {
	got, want := find(m.got, c.Service.Key), find(m.want, c.Service.Key)
	dest := fmt.Sprintf("%s: real server %s", c.Service.Key, c.Destination.DestKey)
	switch c.Op {
	case lb.AddService:
		return fmt.Sprintf("%s: the service is missing", c.Service.Key)
	case lb.DeleteService:
		return fmt.Sprintf("%s: the service is not planned", c.Service.Key)
	case lb.EditService:
		return fmt.Sprintf("%s: ", c.Service.Key) + fields(got.Spec(), want.Spec())
	case lb.AddDestination:
		return dest + " is missing"
	case lb.DeleteDestination:
		return dest + " is not planned"
	default:
		return dest + ": " + fields(findDest(got, c.Destination.DestKey), findDest(want, c.Destination.DestKey))
	}
}

func find(services []lb.Service, k lb.Key) lb.Service {
	i := slices.IndexFunc(services, func(s lb.Service) bool { return s.Key == k })
	if i < 0 {
		return lb.Service{Key: k}
	}
	return services[i]
}

func findDest(s lb.Service, k lb.DestKey) lb.Destination {
	for _, d := range s.Destinations {
		if d = d.Spec(); d.DestKey == k {
			return d
		}
	}
	return lb.Destination{DestKey: k}
}

// fields lists the fields in which two structs of one type differ.
func fields[T any](got, want T) string {
	var out []string
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if a, b := g.Field(i).Interface(), w.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			out = append(out, fmt.Sprintf("%s is %v, planned is %v", strings.ToLower(g.Type().Field(i).Name), a, b))
		}
	}
	return strings.Join(out, "; ")
}

// NegatedFailureMessage implements types.GomegaMatcher.
func (m *holdServices) NegatedFailureMessage(any) string { return "the table is as planned" }
