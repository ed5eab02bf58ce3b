package lab_test

import (
	"testing"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/vishvananda/netlink"
)

// A network with many ports is a tree of bridges, and one network all the same.
func TestManyPorts(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	l := up(t, plan(t, "wide.yaml", labName("wide")), lab.Options{})
	// The first is on another bridge than the server, the last on the same.
	for _, node := range []string{"n-1", "n-66"} {
		for _, url := range []string{"10.8.1.1", "[fd00:8::1:1]"} {
			if out := run(t, l, node, "curl -gsS --max-time 5 http://"+url+"/"); out != "server\n" {
				t.Errorf("%s: %s answers %q", node, url, out)
			}
		}
	}
	ports, others := portsByBridge(t, l.Name())
	total := 0
	for bridge, n := range ports {
		total += n
		if n > 65 {
			t.Errorf("bridge %s has %d ports", bridge, n)
		}
	}
	if others != 2 || ports["lan"] != others || total != 67+2*others {
		t.Errorf("ports by bridge: %v; want 67 nodes on two bridges, and these two on lan", ports)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
}

// portsByBridge counts the ports of each bridge, and the bridges that are not
// called like a network.
func portsByBridge(t *testing.T, name string) (ports map[string]int, others int) {
	t.Helper()
	ns, err := netns.Open(name + ".@segments")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	links, err := rtnl.Links(ns)
	if err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for _, l := range links {
		if _, ok := l.(*netlink.Bridge); ok {
			names[l.Attrs().Index] = l.Attrs().Name
			if l.Attrs().Name != "lan" {
				others++
			}
		}
	}
	ports = map[string]int{}
	for _, l := range links {
		if bridge, ok := names[l.Attrs().MasterIndex]; ok {
			ports[bridge]++
		}
	}
	return ports, others
}
