package rtnl

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/vishvananda/netlink"
)

// Impairment is what happens to packets that leave by a link.
type Impairment struct {
	From   string  // only those that came in by this link, a port of the same bridge; empty: all without an Impairment of their own
	Loss   float64 // percent
	Delay  time.Duration
	Jitter time.Duration
}

// ErrForeignQdisc refuses to replace a queueing discipline that this package
// has not made.
var ErrForeignQdisc = errors.New("the interface has a queueing discipline of somebody else's; remove it with `tc qdisc del dev INTERFACE root`")

// impairHandle marks the queueing disciplines that Impair makes.
const impairHandle = 0x1f5

// netemLimit is how many packets may be late at once: a second's worth of small ones.
const netemLimit = 20_000

// Impair makes the link of that name impair what it sends as the list says,
// and nothing else: an empty list ends it. It works by netem(8), below prio(8)
// if senders differ, and is read back.
func Impair(ns *netns.NS, link string, list []Impairment) error {
	return withLink(ns, link, func(h *netlink.Handle, l netlink.Link) error {
		if err := removeImpairment(h, l); err != nil || len(list) == 0 {
			return err
		}
		index := l.Attrs().Index
		var err error
		if len(list) == 1 && list[0].From == "" {
			err = h.QdiscAdd(list[0].netem(index, impairHandle, netlink.HANDLE_ROOT))
		} else {
			err = impairSenders(ns, h, index, list)
		}
		if err != nil {
			return errors.Join(explainTC("sch_netem, sch_prio and cls_flower", err), removeImpairment(h, l))
		}
		return checkImpairment(h, l, list)
	})
}

func (i Impairment) netem(index int, major uint16, parent uint32) *netlink.Netem {
	return netlink.NewNetem(
		netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(major, 0), Parent: parent},
		netlink.NetemQdiscAttrs{
			Latency: uint32(i.Delay.Microseconds()), Jitter: uint32(i.Jitter.Microseconds()), Loss: float32(i.Loss), Limit: netemLimit,
		})
}

// maxSenders is prio's number of bands less the one for everybody else
// (include/uapi/linux/pkt_sched.h, TCQ_PRIO_BANDS).
const maxSenders = 15

// impairSenders sorts packets into prio's bands by their sender: the first band
// is for those who are not named.
func impairSenders(ns *netns.NS, h *netlink.Handle, index int, list []Impairment) error {
	if len(list) > maxSenders {
		return fmt.Errorf("%d senders are impaired differently, at most %d can be", len(list), maxSenders)
	}
	root := netlink.MakeHandle(impairHandle, 0)
	prio := &netlink.Prio{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: root, Parent: netlink.HANDLE_ROOT},
		Bands:      uint8(max(len(list)+1, 2)), // the map's zeros: the first band unless a filter says otherwise
	}
	if err := h.QdiscAdd(prio); err != nil {
		return err
	}
	for i, imp := range list {
		band := uint16(1)
		if imp.From != "" {
			band = uint16(i + 2)
			f := portFilter{index: index, parent: root, priority: band, from: imp.From, class: netlink.MakeHandle(impairHandle, band)}
			if err := f.add(ns); err != nil {
				return err
			}
		}
		if err := h.QdiscAdd(imp.netem(index, impairHandle+band, netlink.MakeHandle(impairHandle, band))); err != nil {
			return err
		}
	}
	return nil
}

// removeImpairment takes away what Impair has made, if anything.
func removeImpairment(h *netlink.Handle, l netlink.Link) error {
	qdiscs, err := Retry(func() ([]netlink.Qdisc, error) { return h.QdiscList(l) })
	if err != nil {
		return fmt.Errorf("list queueing disciplines: %w", err)
	}
	for _, q := range qdiscs {
		a := q.Attrs()
		if a.Parent != netlink.HANDLE_ROOT || a.Handle == 0 {
			continue // somebody's child, or the kernel's own default
		}
		if a.Handle != netlink.MakeHandle(impairHandle, 0) {
			return fmt.Errorf("%w (%s)", ErrForeignQdisc, q.Type())
		}
		if err := h.QdiscDel(q); err != nil {
			return fmt.Errorf("remove queueing discipline: %w", err)
		}
	}
	return nil
}

// checkImpairment reads back what every netem does.
func checkImpairment(h *netlink.Handle, l netlink.Link, list []Impairment) error {
	qdiscs, err := Retry(func() ([]netlink.Qdisc, error) { return h.QdiscList(l) })
	if err != nil {
		return fmt.Errorf("list queueing disciplines: %w", err)
	}
	var have []*netlink.Netem
	for _, q := range qdiscs {
		if n, ok := q.(*netlink.Netem); ok {
			have = append(have, n)
		}
	}
	for _, imp := range list {
		want := imp.netem(0, 0, 0)
		found := slices.ContainsFunc(have, func(n *netlink.Netem) bool {
			return n.Loss == want.Loss && near(n.Latency, want.Latency) && near(n.Jitter, want.Jitter)
		})
		if !found {
			return fmt.Errorf("the kernel does not hold %g%% loss and %v delay after they were written", imp.Loss, imp.Delay)
		}
	}
	return nil
}

// near allows for the rounding of clock ticks.
func near(a, b uint32) bool { return math.Abs(float64(a)-float64(b)) <= 1 }

// SetUp takes a link down or up, and reads back that it is. Taking it down
// removes its routes and its IPv6 addresses (ip-link(8)).
func SetUp(ns *netns.NS, link string, up bool) error {
	return withLink(ns, link, func(h *netlink.Handle, l netlink.Link) error {
		change := h.LinkSetDown
		if up {
			change = h.LinkSetUp
		}
		if err := change(l); err != nil {
			return err
		}
		again, err := h.LinkByIndex(l.Attrs().Index)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if (again.Attrs().Flags&net.FlagUp != 0) != up {
			return errors.New("the kernel left it as it was")
		}
		return nil
	})
}

// withLink opens a handle in the namespace and finds the link.
func withLink(ns *netns.NS, link string, fn func(*netlink.Handle, netlink.Link) error) error {
	err := Read(ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		return fn(h, l)
	})
	if err != nil {
		return fmt.Errorf("interface %s: %w", link, err)
	}
	return nil
}
