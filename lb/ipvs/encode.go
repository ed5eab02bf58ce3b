package ipvs

import (
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func addressFamily(f lb.Family) uint16 {
	if f == lb.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// keyAttr names a service.
func keyAttr(k lb.Key) *nl.RtAttr {
	a := nl.NewRtAttr(attrService, nil)
	a.AddRtAttr(svcFamily, nl.Uint16Attr(addressFamily(k.Family)))
	if k.FWMark != 0 {
		a.AddRtAttr(svcFWMark, nl.Uint32Attr(k.FWMark))
		return a
	}
	a.AddRtAttr(svcProtocol, nl.Uint16Attr(uint16(k.Protocol)))
	a.AddRtAttr(svcAddr, k.Addr.AsSlice())
	a.AddRtAttr(svcPort, nl.BEUint16Attr(k.Port))
	return a
}

// destKeyAttr names a destination, with its family, which need not be the service's.
func destKeyAttr(k lb.DestKey) *nl.RtAttr {
	a := nl.NewRtAttr(attrDest, nil)
	a.AddRtAttr(destAddr, k.Addr.Unmap().AsSlice())
	a.AddRtAttr(destPort, nl.BEUint16Attr(k.Port))
	a.AddRtAttr(destFamily, nl.Uint16Attr(addressFamily(lb.FamilyOf(k.Addr))))
	return a
}

func destAttr(d lb.Destination) *nl.RtAttr {
	a := destKeyAttr(d.DestKey)
	a.AddRtAttr(destForward, nl.Uint32Attr(uint32(d.Forward)))
	a.AddRtAttr(destWeight, nl.Uint32Attr(uint32(d.Weight)))
	a.AddRtAttr(destUpper, nl.Uint32Attr(d.Upper))
	a.AddRtAttr(destLower, nl.Uint32Attr(d.Lower))
	if d.Forward == lb.TUN {
		a.AddRtAttr(destTunType, nl.Uint8Attr(uint8(d.Tunnel.Type)))
		a.AddRtAttr(destTunPort, nl.BEUint16Attr(d.Tunnel.Port))
		a.AddRtAttr(destTunFlags, nl.Uint16Attr(d.Tunnel.Flags))
	}
	return a
}

// daemonAttr describes a sync daemon; what is zero is left to the kernel.
func daemonAttr(d lb.SyncDaemon) *nl.RtAttr {
	a := nl.NewRtAttr(attrDaemon, nil)
	a.AddRtAttr(daemonState, nl.Uint32Attr(uint32(d.Role)))
	a.AddRtAttr(daemonInterface, nl.ZeroTerminated(d.Interface))
	a.AddRtAttr(daemonID, nl.Uint32Attr(d.ID))
	if d.MaxLen != 0 {
		a.AddRtAttr(daemonMaxLen, nl.Uint16Attr(d.MaxLen))
	}
	if d.Group.IsValid() {
		a.AddRtAttr(groupAttr(d.Group), d.Group.AsSlice())
	}
	if d.Port != 0 {
		a.AddRtAttr(daemonPort, nl.Uint16Attr(d.Port))
	}
	if d.TTL != 0 {
		a.AddRtAttr(daemonTTL, nl.Uint8Attr(d.TTL))
	}
	return a
}

func groupAttr(group netip.Addr) int {
	if group.Is6() {
		return daemonGroup6
	}
	return daemonGroup
}
