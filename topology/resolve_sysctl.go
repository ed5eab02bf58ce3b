package topology

import (
	"strings"
)

// checkSysctls refuses keys that would leave the node's namespace.
func (p *planner) checkSysctls() {
	for _, n := range p.nodes {
		for _, e := range n.spec.Sysctls {
			path := join(n.path+".sysctls", e.Key)
			if !validKey(e.Key) {
				p.errorf(path, "allowed: keys under net., which belong to the node's namespace, such as net.ipv4.ip_forward",
					"found the key %q", e.Key)
			}
			if strings.ContainsAny(string(e.Value), "\n\x00") || e.Value == "" && !p.broken(path) {
				p.errorf(path, "allowed: one line", "found the value %q", e.Value)
			}
			p.checkSysctlLink(n, path, e.Key)
			p.checkVS(path, e.Key, string(e.Value))
		}
	}
}

// validKey keeps a key below /proc/sys/net: as a path its dots become slashes,
// and its slashes dots.
func validKey(key string) bool {
	parts := strings.Split(key, ".")
	if len(parts) < 2 || parts[0] != "net" {
		return false
	}
	for _, part := range parts {
		if part == "" || strings.Trim(part, "/") == "" {
			return false
		}
		for _, r := range part {
			if !strings.ContainsRune("_-/@", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
				return false
			}
		}
	}
	return true
}

// checkSysctlLink finds a setting of an interface that the node does not have.
func (p *planner) checkSysctlLink(n *node, path, key string) {
	parts := strings.Split(key, ".")
	if len(parts) != 5 || parts[2] != "conf" && parts[2] != "neigh" {
		return
	}
	link := strings.ReplaceAll(parts[3], "/", ".")
	if link != "all" && link != "default" {
		p.checkDeviceOrTunnel(n, path, link)
	}
}
