package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/vishvananda/netlink"
)

// network is two directors on two networks:
//
//	          out: 10.0.0.0/24, fd00:1::/64
//	d0 .1 ----+---- d1 .2
//	  .1 -----+----- .2
//	          in: 10.1.0.0/24
type network struct {
	t      *testing.T
	middle *netns.NS
	nodes  [2]*netns.NS
	names  [2]string
}

var networks = []string{"out", "in"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var serial atomic.Int64

// newNamespace makes one in which IPv6 addresses can be used at once.
func newNamespace(t *testing.T) (*netns.NS, string) {
	t.Helper()
	name := fmt.Sprintf("wiretest%d.%d", os.Getpid(), serial.Add(1))
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	must(t, netns.Create(name))
	ns, err := netns.Open(name)
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	must(t, ns.Do(func() error {
		return (&rtnl.Settings{}).Set(
			rtnl.Sysctl{Key: "net.ipv6.conf.default.accept_dad", Value: "0"},
			rtnl.Sysctl{Key: "net.ipv6.conf.default.dad_transmits", Value: "0"})
	}))
	return ns, name
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	probetest.Namespaces(t)
	n := &network{t: t}
	n.middle, _ = newNamespace(t)
	for i := range n.nodes {
		n.nodes[i], n.names[i] = newNamespace(t)
	}
	conn, err := rtnl.DialIn(n.middle)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	var ports []string
	for k, name := range networks {
		bridge := 100 + k
		must(t, conn.Apply(t.Context(), rtnl.NewBridge(rtnl.End{Name: name, Index: bridge, Up: true})))
		for i, node := range n.nodes {
			port := fmt.Sprintf("%s%d", name, i)
			ports = append(ports, port)
			must(t, conn.Apply(t.Context(), rtnl.NewVeth(
				rtnl.End{Name: port, Index: 200 + 10*k + i, Master: bridge, Up: true}, rtnl.End{Name: name, Index: 10 + k}, node.FD()),
				rtnl.SetLink(rtnl.End{Name: port, Index: 200 + 10*k + i, Up: true})))
		}
	}
	for i, node := range n.nodes {
		end, err := rtnl.DialIn(node)
		must(t, err)
		must(t, end.Apply(t.Context(), rtnl.SetLink(rtnl.End{Name: "out", Index: 10, Up: true}), rtnl.SetLink(rtnl.End{Name: "in", Index: 11, Up: true}),
			rtnl.AddAddress("out", 10, netip.PrefixFrom(own("out", i), 24)), rtnl.AddAddress("in", 11, netip.PrefixFrom(own("in", i), 24)),
			rtnl.AddAddress("out", 10, netip.PrefixFrom(own("six", i), 64))))
		must(t, end.Close())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, rtnl.WaitOperational(ctx, n.middle, ports...))
	for _, node := range n.nodes {
		must(t, rtnl.WaitOperational(ctx, node, networks...))
	}
	return n
}

// client is a third node on the network out.
func (n *network) client() *netns.NS {
	n.t.Helper()
	client, _ := newNamespace(n.t)
	conn, err := rtnl.DialIn(n.middle)
	must(n.t, err)
	defer conn.Close()
	must(n.t, conn.Apply(n.t.Context(), rtnl.NewVeth(rtnl.End{Name: "cl", Index: 300, Master: 100, Up: true}, rtnl.End{Name: "out", Index: 10}, client.FD()),
		rtnl.SetLink(rtnl.End{Name: "cl", Index: 300, Up: true})))
	end, err := rtnl.DialIn(client)
	must(n.t, err)
	defer end.Close()
	must(n.t, end.Apply(n.t.Context(), rtnl.SetLink(rtnl.End{Name: "out", Index: 10, Up: true}),
		rtnl.AddAddress("out", 10, netip.MustParsePrefix("10.0.0.9/24")), rtnl.AddAddress("out", 10, netip.MustParsePrefix("fd00:1::9/64"))))
	return client
}

func own(network string, i int) netip.Addr {
	last := byte(i + 1)
	switch network {
	case "in":
		return netip.AddrFrom4([4]byte{10, 1, 0, last})
	case "six":
		return netip.AddrFrom16([16]byte{0xfd, 0, 0, 1, 15: last})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, last})
}

var (
	vipOut  = netip.MustParseAddr("10.0.0.100")
	vipOut2 = netip.MustParseAddr("10.0.0.101")
	vipIn   = netip.MustParseAddr("10.1.0.100")
	vipSix  = netip.MustParseAddr("fd00:1::100")
)

// group is the one of three virtual routers, as director i is told it.
func group(i int, change func(*Group)) Group {
	g := Group{
		Name: "main", Version: 3, Priority: []uint8{150, 100}[i], Interval: 50 * time.Millisecond,
		Routers: []Router{
			{Network: "out", Interface: "out", ID: 51, Addr: own("out", i), Addresses: []netip.Addr{vipOut, vipOut2}},
			{Network: "out6", Interface: "out", ID: 51, Addr: own("six", i), Addresses: []netip.Addr{vipSix}},
			{Network: "in", Interface: "in", ID: 51, Addr: own("in", i), Addresses: []netip.Addr{vipIn}},
		},
	}
	if change != nil {
		change(&g)
	}
	return g
}

// speaker is a running Speaker and what it has reported.
type speaker struct {
	*Speaker
	t    *testing.T
	stop func() error

	mu      sync.Mutex
	reports []Report
}

func (n *network) speak(i int, groups ...Group) *speaker {
	n.t.Helper()
	sp := &speaker{t: n.t}
	s, err := New(n.nodes[i], groups, func(r Report) {
		sp.mu.Lock()
		defer sp.mu.Unlock()
		sp.reports = append(sp.reports, r)
	})
	must(n.t, err)
	sp.Speaker = s
	ctx, cancel := context.WithCancel(n.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	sp.stop = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-ended, s.Close())
	})
	n.t.Cleanup(func() { _ = sp.stop() })
	return sp
}

// said are the texts and errors of its reports.
func (s *speaker) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.reports {
		out = append(out, fmt.Sprintf("%s %s>%s %s %v", r.Group, r.From, r.To, r.Text, r.Err))
	}
	return strings.Join(out, "\n")
}

// floating are which of the group's addresses a node has.
func (n *network) floating(i int) (have []netip.Addr) {
	n.t.Helper()
	err := rtnl.Read(n.nodes[i], func(h *netlink.Handle) error {
		addrs, err := rtnl.Retry(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
		for _, a := range addrs {
			ip, _ := netip.AddrFromSlice(a.IP)
			if ip = ip.Unmap(); slices.Contains([]netip.Addr{vipOut, vipOut2, vipIn, vipSix}, ip) {
				have = append(have, ip)
			}
		}
		return err
	})
	must(n.t, err)
	return have
}

// holder waits until exactly one director has all addresses, and the other none.
func (n *network) holder(want, addresses int) {
	n.t.Helper()
	n.eventually(30*time.Second, func() error {
		if a, b := n.floating(want), n.floating(1-want); len(a) != addresses || len(b) != 0 {
			return fmt.Errorf("director %d has %v and director %d has %v; want all %d with the first", want, a, 1-want, b, addresses)
		}
		return nil
	})
}

func (n *network) eventually(within time.Duration, look func() error) {
	n.t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			n.t.Fatal(err)
		case <-tick.C:
		}
	}
}

// link sets a director's interface up or down.
func (n *network) link(i int, name string, up bool) {
	n.t.Helper()
	must(n.t, rtnl.Read(n.nodes[i], func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if up {
			return h.LinkSetUp(l)
		}
		return h.LinkSetDown(l)
	}))
}

// knows waits until a client's neighbour table has a director's hardware
// address for an address; it asks for it first if it may.
func (n *network) knows(client *netns.NS, addr netip.Addr, director int, ask bool) {
	n.t.Helper()
	links, err := findLinks(n.nodes[director], []string{"out"})
	must(n.t, err)
	want := links["out"].mac.String()
	n.eventually(30*time.Second, func() error {
		if ask {
			_ = client.Do(func() error { // any packet makes the kernel ask
				c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: addr.AsSlice(), Port: 9})
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("x"))
				return err
			})
		}
		var got string
		err := rtnl.Read(client, func(h *netlink.Handle) error {
			list, err := h.NeighList(10, 0)
			for _, e := range list {
				if e.IP.Equal(addr.AsSlice()) {
					got = e.HardwareAddr.String()
				}
			}
			return err
		})
		if err == nil && got != want {
			err = fmt.Errorf("%s is at %q for the client, director %d is %s", addr, got, director, want)
		}
		return err
	})
}
