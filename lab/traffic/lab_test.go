package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// pair is two namespaces with a veth between them:
//
//	client 10.9.0.1/24 fd09::1/64 ---- 10.9.0.2/24 fd09::2/64 server
//
// and 198.18.0.0/16 local to the client, routed there by the server.
type pair struct{ client, server Enter }

var (
	serverV4 = netip.MustParseAddr("10.9.0.2")
	serverV6 = netip.MustParseAddr("fd09::2")
)

func newPair(t *testing.T) pair {
	t.Helper()
	p := pair{newNamespace(t), newNamespace(t)}
	var serverNS netns.NsHandle
	must(t, p.server(func() (err error) { serverNS, err = netns.Get(); return err }))
	t.Cleanup(func() { serverNS.Close() })
	must(t, p.client(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(serverNS)),
		})
	}))
	must(t, p.client(func() error {
		return errors.Join(setUp("10.9.0.1/24", "fd09::1/64"), route("198.18.0.0/16", "lo", nil))
	}))
	must(t, p.server(func() error {
		return errors.Join(setUp("10.9.0.2/24", "fd09::2/64"), route("198.18.0.0/16", "", net.IPv4(10, 9, 0, 1)))
	}))
	return p
}

func setUp(addrs ...string) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if name == "lo" {
				break
			}
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags = 0x02 // IFA_F_NODAD
			if err := netlink.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("add %s: %w", a, err)
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	return nil
}

// route adds a route via a gateway, or a local one on a device.
func route(to, device string, via net.IP) error {
	dst, err := netlink.ParseIPNet(to)
	if err != nil {
		return err
	}
	r := &netlink.Route{Dst: dst, Gw: via}
	if device != "" {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		r.LinkIndex, r.Type, r.Table, r.Scope = link.Attrs().Index, 2 /* RTN_LOCAL */, 255, netlink.SCOPE_HOST
	}
	return netlink.RouteAdd(r)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startHost(t *testing.T, enter Enter, specs ...ResponderSpec) *Host {
	t.Helper()
	h := NewHost(HostOptions{})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	for _, s := range specs {
		_, err := h.Start(enter, s)
		must(t, err)
	}
	return h
}

// eventually polls until ok, for at most ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-tick.C
	}
}
