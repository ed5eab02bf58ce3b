package rtnl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/kmod"
)

// Tunnel is a tunnel device to be made, or taken over if it is the kernel's own.
type Tunnel struct {
	End
	Kind          string     // "ipip", "ip6tnl", "sit" or "gre", which is ip6gre where Local is IPv6
	Local, Remote netip.Addr // the zero Addr: any
	Checksum      bool       // gre: only packets with a checksum are taken, otherwise only such without
}

// fallbacks are the devices that every namespace has as soon as the module is
// loaded, unless net.core.fb_tunnels_only_for_init_net says otherwise
// (net/ipv4/ip_tunnel.c). They take what no other tunnel wants.
var fallbacks = map[string]string{"ipip": "tunl0", "ip6tnl": "ip6tnl0", "sit": "sit0", "gre": "gre0"}

// AddTunnel makes a tunnel device, down, in the connection's namespace. The
// kernel's fallback device of that name is taken as it is; it can't have ends.
func (c *Conn) AddTunnel(ctx context.Context, t Tunnel) error {
	req, err := newTunnel(t)
	if err != nil {
		return err
	}
	if t.Name != fallbacks[t.Kind] {
		return c.Apply(ctx, req)
	}
	if t.Local.IsValid() || t.Remote.IsValid() {
		return fmt.Errorf("%s: the kernel's fallback device can't have a local or remote address; give the tunnel another name", req.What)
	}
	// The first request loads the module, which makes the device.
	if err := c.Apply(ctx, req); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// ipv6MinMTU is the least MTU of an IPv6 link (RFC 8200, section 5).
const ipv6MinMTU = 1280

// WakeIPv6 makes the kernel set up IPv6, with its settings, on a device that is
// down: the fallback devices have no MTU yet when they are made, and so get none
// (net/ipv6/addrconf.c: addrconf_notify). A change of the MTU makes up for it.
func (c *Conn) WakeIPv6(ctx context.Context, e End) error {
	if e.MTU < ipv6MinMTU {
		return nil
	}
	return c.Apply(ctx, SetLink(End{Name: e.Name, Index: e.Index, MTU: ipv6MinMTU}), SetLink(End{Name: e.Name, Index: e.Index, MTU: e.MTU}))
}

func newTunnel(t Tunnel) (Request, error) {
	if fallbacks[t.Kind] == "" {
		return Request{}, fmt.Errorf("create tunnel %s: unknown kind %q", t.Name, t.Kind)
	}
	end := t.End
	end.Up = false
	kind := t.Kind
	if kind == "gre" && t.Local.Is6() {
		kind = "ip6gre"
	}
	req, info := newLink(kind, end)
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	local, remote := nl.IFLA_IPTUN_LOCAL, nl.IFLA_IPTUN_REMOTE
	if t.Kind == "gre" {
		local, remote = nl.IFLA_GRE_LOCAL, nl.IFLA_GRE_REMOTE
	}
	if t.Local.IsValid() {
		data.AddRtAttr(local, t.Local.AsSlice())
	}
	if t.Remote.IsValid() {
		data.AddRtAttr(remote, t.Remote.AsSlice())
	}
	if t.Checksum {
		// GRE_CSUM, include/uapi/linux/if_tunnel.h
		data.AddRtAttr(nl.IFLA_GRE_IFLAGS, nl.BEUint16Attr(0x8000))
	}
	req.AddData(info)
	return Request{What: fmt.Sprintf("create %s tunnel %s", kind, t.Name), msg: req}, nil
}

// AddGUE opens a UDP port for Generic UDP Encapsulation in the namespace of the
// calling thread: what arrives on it is unwrapped and handed to the tunnel
// devices (net/ipv4/fou_core.c). The message is our own because the library's
// names a protocol, 0, which kernels refuse by now.
func AddGUE(port uint16, ipv6 bool) error {
	what := fmt.Sprintf("open UDP port %d for GUE", port)
	// Unlike a tunnel's, the kernel does not look for this module by itself.
	if err := kmod.Ask("fou"); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	family, err := netlink.GenlFamilyGet(netlink.FOU_GENL_NAME)
	if err != nil {
		return fmt.Errorf("%s (needs the kernel module fou): %w", what, err)
	}
	af := uint8(unix.AF_INET)
	if ipv6 {
		af = unix.AF_INET6
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: netlink.FOU_CMD_ADD, Version: 1})
	req.AddData(nl.NewRtAttr(netlink.FOU_ATTR_PORT, nl.BEUint16Attr(port)))
	req.AddData(nl.NewRtAttr(netlink.FOU_ATTR_AF, nl.Uint8Attr(af)))
	req.AddData(nl.NewRtAttr(netlink.FOU_ATTR_TYPE, nl.Uint8Attr(netlink.FOU_ENCAP_GUE)))
	if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
