package topology

import (
	"cmp"
	"net/netip"
	"slices"
)

// defaultMTU is Ethernet's, RFC 894.
const defaultMTU = 1500

func (p *planner) resolveNetworks() {
	if n := len(p.t.Networks); n > maxNetworks {
		p.errorf("networks", "allowed: at most "+itoa(maxNetworks), "found %d networks", n)
		return
	}
	for _, e := range p.t.Networks {
		path := join("networks", e.Key)
		p.checkLinkName(path, "network", e.Key)
		n := Network{
			Name: e.Key, Kind: cmp.Or(e.Value.Kind, Segment), MTU: cmp.Or(e.Value.MTU, defaultMTU),
		}
		for i, prefix := range e.Value.Prefixes {
			if prefix.IsValid() {
				n.Prefixes = append(n.Prefixes, prefix)
				p.checkPrefix(indexed(path+".prefixes", path, i, p), prefix, n.MTU)
			}
		}
		p.plan.Networks = append(p.plan.Networks, n)
	}
	for i := range p.plan.Networks {
		p.nets[p.plan.Networks[i].Name] = &p.plan.Networks[i]
	}
	p.checkOverlap()
}

// indexed is the path of a list's item, or of the whole where the file wrote it shorter.
func indexed(list, whole string, i int, p *planner) string {
	for _, path := range []string{list + "[" + itoa(i) + "]", list, whole + "[" + itoa(i) + "]"} {
		if _, ok := p.t.pos[path]; ok {
			return path
		}
	}
	return whole
}

func (p *planner) checkLinkName(path, what, name string) {
	switch {
	case len(name) > maxIfName:
		p.errorf(path, "allowed: at most 15 (IFNAMSIZ-1)", "the %s's name %q is %d bytes long", what, name, len(name))
	case !linkName.MatchString(name):
		p.errorf(path, "allowed: letters, digits, _, - and ., the first a letter or digit", "found the %s's name %q", what, name)
	case name == "lo", name == "all", name == "default":
		p.errorf(path, "choose another", "the name %q belongs to the kernel", name)
	}
}

// minIPv6MTU is RFC 8200, section 5.
const minIPv6MTU = 1280

func (p *planner) checkPrefix(path string, prefix netip.Prefix, mtu int) {
	a := prefix.Addr()
	if a.Is6() && mtu < minIPv6MTU {
		p.errorf(path, "IPv6 needs 1280 (RFC 8200, section 5)", "an IPv6 prefix on a network with MTU %d", mtu)
	}
	if a.IsLoopback() {
		p.errorf(path, "choose another prefix", "%s is every node's own loopback", prefix)
	} else if !reserved(a) {
		p.report(PublicAddresses, Warning, path, "it can't leave the lab, but 192.168.0.0/16 or fd00::/8 confuses less",
			"%s is public address space", prefix)
	}
}

// reservedPrefixes are those that nobody owns on the Internet: RFC 1918, 3927,
// 6598, 5737, 2544, 4193, 4291 and 3849.
var reservedPrefixes = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "192.0.2.0/24",
		"198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "fc00::/7", "fe80::/10", "2001:db8::/32", "3fff::/20",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

func reserved(a netip.Addr) bool {
	return slices.ContainsFunc(reservedPrefixes, func(r netip.Prefix) bool { return r.Contains(a) })
}

// checkOverlap looks for prefixes that contain each other, within a network
// and between two. Prefixes nest or are apart, so in sorted order it is enough
// to compare with the last one that was not inside another.
func (p *planner) checkOverlap() {
	type entry struct {
		prefix    netip.Prefix
		net, path string
	}
	var all []entry
	for _, n := range p.plan.Networks {
		path := join("networks", n.Name)
		for i, prefix := range n.Prefixes {
			all = append(all, entry{prefix, n.Name, indexed(path+".prefixes", path, i, p)})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	last := 0
	for i := 1; i < len(all); i++ {
		if all[last].prefix.Overlaps(all[i].prefix) {
			p.errorf(all[i].path, "every network needs prefixes of its own", "%s overlaps %s of network %q",
				all[i].prefix, all[last].prefix, all[last].net)
			continue
		}
		last = i
	}
}
