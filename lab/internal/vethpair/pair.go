// Package vethpair gives tests two network namespaces joined by a veth pair,
// in any Linux kernel and without the rest of the lab. It is for tests only
// and imports nothing of ours. The namespaces have no name and end with the
// test.
//
//	Client: eth0 10.9.0.1/24 fd09::1/64 ---- Server: eth0 10.9.0.2/24 fd09::2/64
//
// 198.18.0.0/16 is local to the client, and the server's route to it leads there.
package vethpair

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Enter runs a function inside a namespace.
type Enter = func(fn func() error) error

// Pair is the two namespaces.
type Pair struct{ Client, Server Enter }

// The addresses of a Pair.
var (
	ClientV4  = netip.MustParseAddr("10.9.0.1")
	ServerV4  = netip.MustParseAddr("10.9.0.2")
	ClientV6  = netip.MustParseAddr("fd09::1")
	ServerV6  = netip.MustParseAddr("fd09::2")
	LocalToV4 = netip.MustParsePrefix("198.18.0.0/16")
)

var (
	clientMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	serverMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// New makes a Pair. It skips the test where the kernel refuses to make a
// namespace for want of privilege, unless IPVSLAB_REQUIRE_KERNEL is 1.
func New(t testing.TB) Pair {
	t.Helper()
	client, _ := namespace(t)
	server, serverFD := namespace(t)
	steps := []struct {
		in Enter
		do func() error
	}{
		{client, func() error {
			return netlink.LinkAdd(&netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: clientMAC},
				PeerName:  "eth0", PeerHardwareAddr: serverMAC, PeerNamespace: netlink.NsFd(serverFD),
			})
		}},
		{client, func() error { return setUp("10.9.0.1/24", "fd09::1/64") }},
		{server, func() error { return setUp("10.9.0.2/24", "fd09::2/64") }},
		{client, func() error { return neighbours(serverMAC, ServerV4, ServerV6) }},
		{server, func() error { return neighbours(clientMAC, ClientV4, ClientV6) }},
		{client, func() error { return routeLocal(LocalToV4) }},
		{server, func() error { return routeVia(LocalToV4, net.IPv4(10, 9, 0, 1)) }},
	}
	for i, s := range steps {
		if err := s.in(s.do); err != nil {
			t.Fatalf("make veth pair, step %d: %v", i, err)
		}
	}
	for _, to := range []netip.Addr{ServerV4, ServerV6} {
		if err := client(func() error { return reach(to) }); err != nil {
			t.Fatalf("wait for veth pair: %v", err)
		}
	}
	return Pair{client, server}
}

// namespace makes a network namespace that lives as long as the test.
func namespace(t testing.TB) (Enter, int) {
	t.Helper()
	fd := -1
	err := onNewThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		var err error
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if errors.Is(err, unix.EPERM) && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func(fn func() error) error {
		return onNewThread(func() error {
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace: %w", err)
			}
			return fn()
		})
	}, fd
}

// onNewThread runs fn on a thread that ends with it: the goroutine ends without
// unlocking, and the runtime throws the thread away.
func onNewThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// reach waits until a refusal comes back from a port where nobody listens.
// For some milliseconds after both ends are up a veth pair drops what is sent,
// until the kernel's link watch has put its queues to work.
func reach(to netip.Addr) error {
	deadline := time.Now().Add(10 * time.Second)
	dialer := net.Dialer{Timeout: 50 * time.Millisecond}
	for {
		conn, err := dialer.Dial("tcp", netip.AddrPortFrom(to, 9).String())
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			return nil
		case err == nil:
			return errors.Join(fmt.Errorf("reach %s: port 9 answers", to), conn.Close())
		case time.Now().After(deadline):
			return fmt.Errorf("reach %s: %w", to, err)
		}
	}
}

// setUp gives eth0 its addresses and sets lo and eth0 up.
func setUp(addrs ...string) error {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(eth0, addr); err != nil {
			return fmt.Errorf("add %s: %w", text, err)
		}
	}
	return errors.Join(netlink.LinkSetUp(lo), netlink.LinkSetUp(eth0))
}

// neighbours makes the peer's addresses known for good: a question asked too
// early is repeated after a second only.
func neighbours(mac net.HardwareAddr, addrs ...netip.Addr) error {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range addrs {
		errs = append(errs, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: eth0.Attrs().Index, IP: a.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
		}))
	}
	return errors.Join(errs...)
}

func routeLocal(p netip.Prefix) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{
		Dst: ipNet(p), LinkIndex: lo.Attrs().Index, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST,
	})
}

func routeVia(p netip.Prefix, via net.IP) error {
	return netlink.RouteAdd(&netlink.Route{Dst: ipNet(p), Gw: via})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Forget removes the client's local route, to be called in its namespace: the
// prefix is then nobody's, though the server still sends it to the client.
func Forget(p netip.Prefix) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.RouteDel(&netlink.Route{
		Dst: ipNet(p), LinkIndex: lo.Attrs().Index, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST,
	})
}
