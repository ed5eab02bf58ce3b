package lab_test

import (
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// Every setting of a plan is there after Up, also where the defaults, an
// interface's own and the whole node's are at odds.
func TestSettingsAreMade(t *testing.T) {
	probetest.Namespaces(t)
	stateRoot(t)
	p := plan(t, "dual.yaml", labName("settings"))
	for i, n := range p.Nodes {
		iface := n.Interfaces[0].Name
		n.Sysctls = append(n.Sysctls,
			topology.Sysctl{Key: "net.ipv4.conf." + iface + ".arp_accept", Value: "1"},
			topology.Sysctl{Key: "net.ipv4.conf.default.log_martians", Value: "1"},
			topology.Sysctl{Key: "net.ipv4.conf." + iface + ".log_martians", Value: "0"},
			topology.Sysctl{Key: "net.ipv4.conf.default.accept_local", Value: "1"},
			topology.Sysctl{Key: "net.ipv4.conf.lo.accept_source_route", Value: "0"},
		)
		for k := range n.Sysctls {
			switch s := &n.Sysctls[k]; s.Key {
			case "net.ipv4.ip_forward":
				s.Value = []string{"0", "1"}[i%2]
			case "net.ipv4.conf.default.forwarding", "net.ipv4.conf." + iface + ".forwarding":
				s.Value = []string{"1", "0"}[i%2]
			}
		}
		p.Nodes[i] = n
	}
	l := up(t, p, lab.Options{NoServices: true})
	checked := 0
	for _, node := range l.Nodes() {
		err := node.Do(func() error {
			for _, s := range node.Plan().Sysctls {
				got, err := rtnl.ReadSysctl(s.Key)
				if !s.Optional && (err != nil || got != s.Value) {
					t.Errorf("%s: %s = %q, %v; want %s", node.Name(), s.Key, got, err, s.Value)
				}
				checked++
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if checked < 100 {
		t.Errorf("only %d settings", checked)
	}
}
