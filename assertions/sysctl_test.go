package assertions_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

func TestHaveSysctl(t *testing.T) {
	probetest.Namespaces(t)
	t.Setenv("IPVSLAB_STATE", t.TempDir())
	plan := &topology.Plan{Name: fmt.Sprintf("sysctl-%d", os.Getpid()), Nodes: []topology.Node{
		{Name: "router", Role: topology.Router, Sysctls: []topology.Sysctl{
			{Key: "net.ipv4.ip_forward", Value: "1"},
			{Key: "net.ipv4.ip_local_port_range", Value: "20000 30000"},
		}},
		{Name: "bare", Role: topology.NoRole, Sysctls: []topology.Sysctl{{Key: "net.ipv4.ip_forward", Value: "0"}}},
	}}
	l, err := lab.Up(t.Context(), plan, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	router, bare := l.Nodes()[0], l.Nodes()[1]
	forwards := assertions.HaveSysctl("net.ipv4.ip_forward", "1")
	judge(t, "have_sysctl",
		verdict{"as wanted", forwards, router, true},
		verdict{"two numbers, the blanks don't count", assertions.HaveSysctl("net.ipv4.ip_local_port_range", "20000  30000"), router, true},
		verdict{"in another node", forwards, bare, false},
		verdict{"another value", assertions.HaveSysctl("net.ipv4.ip_local_port_range", "20000 30001"), router, false},
	)
	mistaken(t, assertions.HaveSysctl("net.ipv4.no_such_setting", "1"), "node router: ", router)
	mistaken(t, forwards, "not string", "1")
	mistaken(t, forwards, "not lab.Node", *router)
}
