package ipvs

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"golang.org/x/sys/unix"
)

// decodeService reads the answer to cmdGetService.
func decodeService(payload []byte) (lb.Service, error) {
	var s lb.Service
	top, err := parseAttrs(payload)
	if err != nil {
		return s, err
	}
	a, err := top.nest(attrService)
	if err != nil {
		return s, err
	}
	family, ok := a.uint16(svcFamily)
	if !ok {
		return s, fmt.Errorf("malformed answer: service without a family")
	}
	if mark, ok := a.uint32(svcFWMark); ok {
		s.Key = lb.MarkKey(mark, lbFamily(family))
	} else {
		protocol, _ := a.uint16(svcProtocol)
		addr, err := decodeAddr(a[svcAddr], family)
		if err != nil {
			return s, err
		}
		s.Key = lb.AddrKey(lb.Protocol(protocol), addr, a.port(svcPort))
	}
	flags, _ := a.uint32(svcFlags) // the first half of struct ip_vs_flags
	s.Scheduler, s.Engine = a.text(svcScheduler), a.text(svcEngine)
	s.Flags = lb.Flags(flags &^ (flagPersistent | flagHashed))
	if flags&flagPersistent != 0 {
		seconds, _ := a.uint32(svcTimeout)
		s.Timeout = time.Duration(seconds) * time.Second
		decodeMask(&s, a[svcNetmask])
	}
	s.Counters, err = decodeStats(&a, svcStats64, svcStats)
	return s, err
}

// decodeDestination reads one part of the answer to cmdGetDest. Kernels before
// 3.18 don't tell a destination's family; it is then the service's.
func decodeDestination(payload []byte, service lb.Family) (lb.Destination, error) {
	var d lb.Destination
	top, err := parseAttrs(payload)
	if err != nil {
		return d, err
	}
	a, err := top.nest(attrDest)
	if err != nil {
		return d, err
	}
	family, ok := a.uint16(destFamily)
	if !ok {
		family = addressFamily(service)
	}
	if d.Addr, err = decodeAddr(a[destAddr], family); err != nil {
		return d, err
	}
	d.Port = a.port(destPort)
	forward, _ := a.uint32(destForward)
	d.Forward = lb.Forward(forward & forwardMask)
	weight, _ := a.uint32(destWeight)
	d.Weight = int32(weight)
	d.Upper, _ = a.uint32(destUpper)
	d.Lower, _ = a.uint32(destLower)
	if d.Forward == lb.TUN {
		kind := a.uint8(destTunType)
		flags, _ := a.uint16(destTunFlags)
		d.Tunnel = lb.Tunnel{Type: lb.TunnelType(kind), Port: a.port(destTunPort), Flags: flags}
	}
	if d.Counters, err = decodeStats(&a, destStats64, destStats); err != nil {
		return d, err
	}
	d.Counters.Active, _ = a.uint32(destActive)
	d.Counters.Inactive, _ = a.uint32(destInactive)
	d.Counters.Persistent, _ = a.uint32(destPersistent)
	return d, nil
}

// decodeStats prefers the 64-bit statistics, which kernels have since 4.1.
func decodeStats(a *attrs, wide, narrow uint16) (lb.Counters, error) {
	nest := narrow
	if a.has(wide) {
		nest = wide
	}
	s, err := a.nest(nest)
	if err != nil {
		return lb.Counters{}, err
	}
	return lb.Counters{
		Conns: s.uint(statConns), InPkts: s.uint(statInPkts), OutPkts: s.uint(statOutPkts),
		InBytes: s.uint(statInBytes), OutBytes: s.uint(statOutBytes),
		CPS: s.uint(statCPS), InPPS: s.uint(statInPPS), OutPPS: s.uint(statOutPPS),
		InBPS: s.uint(statInBPS), OutBPS: s.uint(statOutBPS),
	}, nil
}

func decodeDaemon(payload []byte) (lb.SyncDaemon, error) {
	var d lb.SyncDaemon
	top, err := parseAttrs(payload)
	if err != nil {
		return d, err
	}
	a, err := top.nest(attrDaemon)
	if err != nil {
		return d, err
	}
	state, _ := a.uint32(daemonState)
	d.Role, d.Interface = lb.SyncRole(state), a.text(daemonInterface)
	d.ID, _ = a.uint32(daemonID)
	d.MaxLen, _ = a.uint16(daemonMaxLen)
	d.Port, _ = a.uint16(daemonPort)
	d.TTL = a.uint8(daemonTTL)
	if a.has(daemonGroup) {
		d.Group, err = decodeAddr(a[daemonGroup], unix.AF_INET)
	} else if a.has(daemonGroup6) {
		d.Group, err = decodeAddr(a[daemonGroup6], unix.AF_INET6)
	}
	return d, err
}

func lbFamily(af uint16) lb.Family {
	if af == unix.AF_INET6 {
		return lb.IPv6
	}
	return lb.IPv4
}

// decodeAddr reads a union nf_inet_addr: 16 bytes, of which IPv4 fills 4.
func decodeAddr(b []byte, family uint16) (netip.Addr, error) {
	n := 4
	if family == unix.AF_INET6 {
		n = 16
	}
	if len(b) < n {
		return netip.Addr{}, fmt.Errorf("malformed answer: address of %d bytes", len(b))
	}
	addr, _ := netip.AddrFromSlice(b[:n])
	return addr, nil
}

// decodeMask reads a netmask: of IPv4 a mask in network order, of IPv6 a prefix
// length in the host's. The full length is zero, as in lb.Service.
func decodeMask(s *lb.Service, b []byte) {
	if len(b) < 4 {
		return
	}
	if s.Family != lb.IPv6 {
		s.SetMask4(netip.AddrFrom4([4]byte(b)))
	} else if n := uint8(native.Uint32(b)); n != s.Family.Bits() {
		s.MaskBits = n
	}
}
