package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
)

// floor is the least that n nodes on one segment can be made of: a named
// namespace each, a cable to a bridge, lo and the cable up, an address. IPv6 is off
// (it would speak on each cable that comes up); nothing else is set, nothing
// recorded, nobody waits for the links. It is made with the messages and by as
// many threads as a lab is.
type floor struct {
	prefix   string
	ports    chan *rtnl.Conn     // in the bridges' namespace
	settings chan *rtnl.Settings // one for each thread
}

var noIPv6 = rtnl.Sysctl{Key: "net.ipv6.conf.default.disable_ipv6", Value: "1", Optional: true}

// portsPerBridge is as in package lab: a bridge that gets one more port looks at all that it has.
const portsPerBridge = 64

func floorUp(ctx context.Context, n int) (took time.Duration, err error) {
	f := floor{
		prefix:   fmt.Sprintf("bench-floor-%d-", os.Getpid()),
		ports:    make(chan *rtnl.Conn, netns.Workers()),
		settings: make(chan *rtnl.Settings, netns.Workers()),
	}
	names := []string{f.prefix + "bridges"}
	for i := range n {
		names = append(names, fmt.Sprintf("%s%d", f.prefix, i))
	}
	defer func() { err = errors.Join(err, f.down(names)) }()
	start := time.Now()
	if err := netns.CreateAll(names[:1], func(int) error { return f.makeBridges(ctx, n) }); err != nil {
		return 0, err
	}
	err = netns.CreateAll(names[1:], func(i int) error { return f.makeNode(ctx, i) })
	return time.Since(start), err
}

const (
	floorBridge = 16   // the index of the first bridge
	floorPort   = 1000 // and of its first port
)

func (f floor) makeBridges(ctx context.Context, n int) error {
	for range cap(f.ports) {
		conn, err := rtnl.Dial()
		if err != nil {
			return err
		}
		f.ports <- conn
		f.settings <- rtnl.NewSettings()
	}
	if err := (&rtnl.Settings{}).Set(noIPv6); err != nil {
		return err
	}
	var reqs []rtnl.Request
	for i := range (n + portsPerBridge - 1) / portsPerBridge {
		reqs = append(reqs, rtnl.NewBridge(rtnl.End{Name: fmt.Sprintf("br%d", i), Index: floorBridge + i, Up: true}))
	}
	conn := <-f.ports
	defer func() { f.ports <- conn }()
	return conn.Apply(ctx, reqs...)
}

// makeNode runs in the node's namespace.
func (f floor) makeNode(ctx context.Context, i int) (err error) {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	settings := <-f.settings
	err = settings.Set(noIPv6)
	f.settings <- settings
	if err != nil {
		return err
	}
	port := rtnl.End{Name: fmt.Sprintf("port%d", i), Index: floorPort + i, Master: floorBridge + i/portsPerBridge, Up: true}
	eth := rtnl.End{Name: "eth0", Index: 2}
	bridges := <-f.ports
	err = bridges.Apply(ctx, rtnl.NewVeth(port, eth, ns.FD()))
	f.ports <- bridges
	if err != nil {
		return err
	}
	conn, err := rtnl.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	address := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 8, byte(i / 250), byte(1 + i%250)}), 16)
	return conn.Apply(ctx, rtnl.SetLink(rtnl.End{Name: "lo", Index: 1, Up: true}),
		rtnl.SetLink(rtnl.End{Name: eth.Name, Index: eth.Index, Up: true}), rtnl.AddAddress(eth.Name, eth.Index, address))
}

func (f floor) down(names []string) error {
	var errs []error
	close(f.ports)
	for conn := range f.ports {
		errs = append(errs, conn.Close())
	}
	close(f.settings)
	for settings := range f.settings {
		settings.Close()
	}
	for _, name := range names {
		if err := netns.Delete(name); !errors.Is(err, netns.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
