package rtnl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/poll"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpAttempts bounds Retry: a table that changes faster than it can be read
// this often is not going to hold still.
const dumpAttempts = 20

// Retry repeats a dump as long as the kernel says that the table changed under
// it (NLM_F_DUMP_INTR). Every dump goes through it.
func Retry[T any](dump func() (T, error)) (result T, err error) {
	for range dumpAttempts {
		if result, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return result, err
		}
	}
	return result, err
}

// Read hands a netlink handle for route queries in the namespace to fn.
func Read(ns *netns.NS, fn func(*netlink.Handle) error) error {
	var h *netlink.Handle
	err := ns.Do(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("open route netlink socket: %w", err)
	}
	defer h.Close()
	return fn(h)
}

// Links lists the links of a namespace.
func Links(ns *netns.NS) (links []netlink.Link, err error) {
	err = Read(ns, func(h *netlink.Handle) error {
		links, err = Retry(h.LinkList)
		return err
	})
	return links, err
}

// WaitOperational waits until the named links of the namespace carry packets.
// The kernel activates the end of a veth whose peer came up later from a work
// queue (net/core/link_watch.c); until then it drops what it should send.
// It fails when the context does, naming what is missing.
func WaitOperational(ctx context.Context, ns *netns.NS, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return Read(ns, func(h *netlink.Handle) error {
		pace := poll.Start()
		for {
			links, err := Retry(h.LinkList)
			if err != nil {
				return fmt.Errorf("list links: %w", err)
			}
			idle := notOperational(links, names)
			if len(idle) == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for %s to carry packets: %w", strings.Join(idle, ", "), ctx.Err())
			case <-pace.Again():
			}
		}
	})
}

// WaitNoCarrier waits until the link has no carrier. The kernel tells a
// loss of carrier to others after up to a second; the flag itself is immediate
// (net/core/link_watch.c; IFF_LOWER_UP in netdevice(7)).
func WaitNoCarrier(ctx context.Context, ns *netns.NS, name string) error {
	return withLink(ns, name, func(h *netlink.Handle, l netlink.Link) error {
		pace := poll.Start()
		for {
			now, err := h.LinkByIndex(l.Attrs().Index)
			if err != nil {
				return err
			}
			if now.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for it to lose its carrier: %w", ctx.Err())
			case <-pace.Again():
			}
		}
	})
}

func notOperational(links []netlink.Link, names []string) (idle []string) {
	up := make(map[string]bool, len(links))
	for _, l := range links {
		up[l.Attrs().Name] = l.Attrs().OperState == netlink.OperUp
	}
	for _, name := range names {
		if !up[name] {
			idle = append(idle, name)
		}
	}
	return idle
}
