package assertions

import (
	"fmt"

	"github.com/onsi/gomega/types"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
)

// HaveSysctl succeeds when a kernel setting of a node has the value; the key
// is in sysctl(8)'s dotted form; see rtnl.Sysctl.Agrees. Its actual is a *lab.Node.
func HaveSysctl(key, value string) types.GomegaMatcher { return &haveSysctl{key: key, want: value} }

type haveSysctl struct{ key, want, got string }

// Match implements types.GomegaMatcher.
func (m *haveSysctl) Match(actual any) (bool, error) {
	node, ok := actual.(*lab.Node)
	if !ok {
		return false, fmt.Errorf("HaveSysctl takes a *lab.Node, not %T", actual)
	}
	err := node.Do(func() (err error) { m.got, err = rtnl.ReadSysctl(m.key); return err })
	if err != nil {
		return false, fmt.Errorf("node %s: %w", node.Name(), err)
	}
	return rtnl.Sysctl{Key: m.key, Value: m.want}.Agrees(m.got), nil
}

// FailureMessage implements types.GomegaMatcher.
func (m *haveSysctl) FailureMessage(actual any) string {
	return fmt.Sprintf("expected %s = %s in node %s, it is %s", m.key, m.want, actual.(*lab.Node).Name(), m.got)
}

// NegatedFailureMessage implements types.GomegaMatcher.
func (m *haveSysctl) NegatedFailureMessage(actual any) string {
	return fmt.Sprintf("expected %s not to be %s in node %s", m.key, m.want, actual.(*lab.Node).Name())
}
