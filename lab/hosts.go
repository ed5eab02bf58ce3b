package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/topology"
)

func hostsFile(dir string) string { return filepath.Join(dir, "hosts") }

// resolvFile is beside the hosts file.
func resolvFile(hosts string) string { return filepath.Join(filepath.Dir(hosts), "resolv.conf") }

// resolv is what every node sees as /etc/resolv.conf. Without it a program that
// asks the host's name server for a name waits for seconds: a NAT real server's
// default route leads to the director, and no further. Without a nameserver
// line the resolver asks this node (resolv.conf(5)), which refuses at once.
const resolv = "# A lab has no name server; /etc/hosts has its names.\noptions timeout:1 attempts:1\n"

// hosts is what every node sees as /etc/hosts: each node's name with the
// addresses of its interfaces. Virtual addresses belong to no one node and have
// their service's name instead.
func hosts(plan *topology.Plan) []byte {
	var buf bytes.Buffer
	fmt.Fprintf(&buf, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	for _, node := range plan.Nodes {
		for _, a := range nodeAddrs(&node) {
			fmt.Fprintf(&buf, "%s %s\n", a, node.Name)
		}
	}
	for _, s := range plan.Services {
		if s.Spec.Addr.IsValid() {
			fmt.Fprintf(&buf, "%s %s\n", s.Spec.Addr, s.Name)
		}
	}
	return buf.Bytes()
}

// nodeAddrs lists a node's own addresses, without virtual ones.
func nodeAddrs(node *topology.Node) (addrs []netip.Addr) {
	for _, iface := range node.Interfaces {
		for _, a := range iface.Addresses {
			if !a.VIP {
				addrs = append(addrs, a.Prefix.Addr())
			}
		}
	}
	return addrs
}

// nodeVIPs lists a node's virtual addresses.
func nodeVIPs(node *topology.Node) (addrs []netip.Addr) {
	all := slices.Clone(node.Loopback)
	for _, iface := range node.Interfaces {
		all = append(all, iface.Addresses...)
	}
	for _, a := range all {
		if a.VIP {
			addrs = append(addrs, a.Prefix.Addr())
		}
	}
	return addrs
}

func nodeNames(plan *topology.Plan) string {
	names := make([]string, len(plan.Nodes))
	for i, n := range plan.Nodes {
		names[i] = n.Name
	}
	return strings.Join(names, ", ")
}
