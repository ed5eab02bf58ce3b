package traffic

import (
	"fmt"
	"net/netip"
)

// PlanSources lists n client addresses from prefix, beginning with its second
// address, each with the given port (zero: the kernel chooses). The prefix has
// to be local to the client's node and routed back to it:
//
//	client:   a route of type local, `ip route add local 198.18.0.0/16 dev lo`
//	director: a route to 198.18.0.0/16 via the client
//
// One such route makes every address of the prefix bindable, at no cost per
// address, IPv4 or IPv6 (RTN_LOCAL in rtnetlink(7); known as AnyIP).
func PlanSources(prefix netip.Prefix, n int, port uint16) ([]netip.AddrPort, error) {
	prefix = prefix.Masked()
	sources := make([]netip.AddrPort, 0, n)
	addr := prefix.Addr()
	for range n {
		addr = addr.Next()
		if !prefix.Contains(addr) {
			return nil, fmt.Errorf("plan %d source addresses: %s has only %d besides its first", n, prefix, len(sources))
		}
		sources = append(sources, netip.AddrPortFrom(addr, port))
	}
	return sources, nil
}

// PlanPorts lists the ports first to first+n-1 of one address.
func PlanPorts(addr netip.Addr, first uint16, n int) ([]netip.AddrPort, error) {
	if n < 0 || int(first)+n > 65536 || first == 0 {
		return nil, fmt.Errorf("plan %d source ports from %d: ports are 1 to 65535", n, first)
	}
	sources := make([]netip.AddrPort, n)
	for i := range sources {
		sources[i] = netip.AddrPortFrom(addr, first+uint16(i))
	}
	return sources, nil
}
