package lab_test

import (
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// client === router -- lan -- A_very-long_node-name-1, 2b.
//
// Both families, a cable without a bridge, an MTU, odd names, policy routing;
// twice at the same time under two names.
func TestDualStackTwice(t *testing.T) {
	needRoot(t)
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
	needRoot(t)
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
