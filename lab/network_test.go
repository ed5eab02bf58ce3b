package lab_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sys/unix"
)

// client === router -- lan -- A_very-long_node-name-1, 2b.
//
// Both families, a cable without a bridge, an MTU, odd names, policy routing;
// twice at the same time under two names.
func TestDualStackTwice(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	one := up(t, plan(t, "dual.yaml", labName("one")), lab.Options{})
	two := up(t, plan(t, "dual.yaml", labName("two_-")), lab.Options{Agent: lab.Detached})
	for _, l := range []*lab.Lab{one, two} {
		for _, url := range []string{"10.9.9.11", "[fd00:9::11]", "A_very-long_node-name-1"} {
			if out := run(t, l, "client", "curl -gsS --max-time 0.9 http://"+url+"/"); out != "A_very-long_node-name-1\n" {
				t.Errorf("%s: %s answers %q", l.Name(), url, out)
			}
		}
		for _, check := range []struct{ node, script, want string }{
			{"2b", "ip link show lan", "mtu 1400"},
			{"2b", "ip rule", "50:\tfrom 10.99.0.1 lookup 100"},
			{"2b", "ip route show table 100", "default via 10.9.9.1 dev lan"},
			{"2b", "ip route", "blackhole 192.0.2.0/24"},
			{"2b", "ip address show lo", "127.0.0.1/8"},
			{"2b", "ip address show lo", "10.99.0.1/32"},
			{"A_very-long_node-name-1", "ip route", "10.9.8.0/30 via 10.9.9.1 dev lan proto static metric 7"},
			{"A_very-long_node-name-1", "ip -6 address show lan", "fd00:9::11/64 scope global nodad"},
			{"client", "ls /sys/class/net", "cable"},
			{"client", "cat /sys/class/net/cable/operstate", "up"},
		} {
			if out := run(t, l, check.node, check.script); !strings.Contains(out, check.want) {
				t.Errorf("%s: %s: %s: no %q in:\n%s", l.Name(), check.node, check.script, check.want, out)
			}
		}
	}
	if err := one.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, two, "client", "curl -gsS --max-time 0.9 http://10.9.9.11/")
	if err := two.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, one.Name())
	nothingLeft(t, dir, two.Name())
}

// Whatever is wrong is said with its place, and nothing is left of the lab.
func TestUpFails(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	for name, test := range map[string]struct {
		spoil func(*topology.Plan)
		want  []string
	}{
		"route without a way": {
			func(p *topology.Plan) { p.Nodes[0].Routes[0].Via = p.Nodes[3].Interfaces[0].Addresses[0].Prefix.Addr() },
			[]string{"node client", "add route to 0.0.0.0/0 via 10.9.9.12"},
		},
		"route through no device": {
			func(p *topology.Plan) { p.Nodes[0].Routes[0].Device = "eth7" },
			[]string{"node client", `no interface "eth7"`},
		},
		"address twice": {
			func(p *topology.Plan) {
				iface := &p.Nodes[2].Interfaces[0]
				iface.Addresses = append(iface.Addresses, iface.Addresses[0])
			},
			[]string{"node A_very-long_node-name-1", "add address 10.9.9.11/24 to lan", "file exists"},
		},
		"bad MAC": {
			func(p *topology.Plan) { p.Nodes[2].Interfaces[0].MAC = "01:00:00:00:00:01" },
			[]string{"node A_very-long_node-name-1", "create veth pair"},
		},
		"port taken": {
			func(p *topology.Plan) {
				p.Nodes[2].Responders = append(p.Nodes[2].Responders, p.Nodes[2].Responders[0])
			},
			[]string{"A_very-long_node-name-1", "80", "address already in use"},
		},
		"setting out of bounds": {
			func(p *topology.Plan) {
				p.Nodes[2].Sysctls = append(p.Nodes[2].Sysctls, topology.Sysctl{Key: "net.ipv4.ip_default_ttl", Value: "300"})
			},
			[]string{"node A_very-long_node-name-1", `set sysctl net.ipv4.ip_default_ttl to "300"`, "invalid argument"},
		},
		"name of another namespace": {
			func(p *topology.Plan) { p.Nodes[1].Name = "../x" },
			[]string{`node name "../x"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []lab.AgentMode{lab.InProcess, lab.Detached} {
				p := plan(t, "dual.yaml", labName("fails"))
				test.spoil(p)
				l, err := lab.Up(t.Context(), p, lab.Options{Agent: mode})
				if err == nil {
					l.Down(t.Context())
					t.Fatal("succeeded")
				}
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("no %q in: %v", want, err)
					}
				}
				nothingLeft(t, dir, p.Name)
			}
		})
	}
}

// Every kind of interface there is, each where the kernel has it.
func TestInterfaceKinds(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	addr := netip.MustParseAddr
	for name, test := range map[string]struct {
		iface topology.Interface
		want  string // of ip -d link
	}{
		"dummy":           {topology.Interface{Name: "d0", Kind: topology.DummyIface, MAC: "02:00:00:00:00:07", MTU: 1400}, "mtu 1400"},
		"ipip fallback":   {topology.Interface{Name: "tunl0", Kind: topology.IPIPIface, MTU: 1480}, "ipip any"},
		"ip6tnl fallback": {topology.Interface{Name: "ip6tnl0", Kind: topology.IP6Iface}, "ip6tnl"},
		"sit fallback":    {topology.Interface{Name: "sit0", Kind: topology.SITIface}, "sit"},
		"gre fallback":    {topology.Interface{Name: "gre0", Kind: topology.GREIface}, "gre"},
		"ipip": {
			topology.Interface{Name: "t1", Kind: topology.IPIPIface, Local: addr("10.9.9.11"), Remote: addr("10.9.9.12"), MTU: 1300},
			"ipip remote 10.9.9.12 local 10.9.9.11",
		},
		"gre": {topology.Interface{Name: "t.1", Kind: topology.GREIface, Remote: addr("10.9.9.12")}, "gre remote 10.9.9.12 local any"},
		"sit": {topology.Interface{Name: "t1", Kind: topology.SITIface, Local: addr("10.9.9.11")}, "local 10.9.9.11"},
		"ip6tnl": {
			topology.Interface{Name: "t1", Kind: topology.IP6Iface, Local: addr("fd00:9::11"), Remote: addr("fd00:9::12")},
			"ip6tnl any remote fd00:9::12 local fd00:9::11",
		},
		"gue": {topology.Interface{Name: "tunl0", Kind: topology.GUEIface, Port: 6080}, "ipip any"},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan(t, "dual.yaml", labName("kind"))
			iface := test.iface
			iface.Addresses = []topology.Address{{Prefix: netip.MustParsePrefix("10.99.1.1/32")}}
			node := &p.Nodes[2]
			node.Interfaces = append(node.Interfaces, iface)
			node.Routes = append(node.Routes, topology.Route{To: netip.MustParsePrefix("10.77.0.0/16"), Device: iface.Name})
			l, err := lab.Up(t.Context(), p, lab.Options{})
			t.Cleanup(func() { lab.Down(context.Background(), p.Name) })
			// What the kernel says to a link type, or to a family, that it doesn't know.
			missing := errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT)
			if missing && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1" {
				nothingLeft(t, dir, p.Name)
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			out := run(t, l, node.Name, "ip -d address show "+iface.Name+"; ip route; cat /proc/net/udp")
			for _, want := range []string{test.want, ",UP", "inet 10.99.1.1/32", "10.77.0.0/16 dev " + iface.Name} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			if test.iface.Port != 0 && !strings.Contains(out, ":17C0 ") {
				t.Errorf("nothing listens on port 6080:\n%s", out)
			}
			if err := l.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Every example comes up and goes down.
func TestExamples(t *testing.T) {
	probetest.Namespaces(t)
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	noIPVS := probeIPVS(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := stateRoot(t)
			p, problems, err := topology.Open(file, labName("example"))
			if err != nil {
				t.Fatalf("%v\n%v", err, problems)
			}
			keepalived := func(d topology.DirectorPlan) bool { return d.Kind == topology.Keepalived }
			if noIPVS == nil && slices.ContainsFunc(p.Directors, keepalived) {
				probetest.Keepalived(t)
			}
			t.Cleanup(func() { lab.Down(context.Background(), p.Name) })
			l, err := lab.Up(t.Context(), p, lab.Options{Agent: lab.Detached, NoServices: noIPVS != nil})
			missing := errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT)
			if missing && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, dir, p.Name)
		})
	}
}
