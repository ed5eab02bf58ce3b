package rtnl

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Impairment is what happens to packets that leave by a link.
type Impairment struct {
	From   net.HardwareAddr // only those of this sender; nil: of all without an Impairment of their own
	Loss   float64          // percent
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
		if len(list) == 1 && list[0].From == nil {
			err = h.QdiscAdd(list[0].netem(index, impairHandle, netlink.HANDLE_ROOT))
		} else {
			err = impairSenders(h, index, list)
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
func impairSenders(h *netlink.Handle, index int, list []Impairment) error {
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
		if imp.From != nil {
			band = uint16(i + 2)
			err := h.FilterAdd(&netlink.Flower{
				FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: root, Priority: band, Protocol: unix.ETH_P_ALL},
				SrcMac:      imp.From,
				ClassId:     netlink.MakeHandle(impairHandle, band),
			})
			if err != nil {
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

// blockPriority is of the first filter that Block makes; those of SetMarks stay
// below and are at the other hook.
const blockPriority = 0x1f50

// Block makes the link of that name send nothing that comes from these
// senders, and from no others: an empty list ends it. It works by flower and
// gact at clsact's egress (tc-flower(8)), and is read back.
func Block(ns *netns.NS, link string, senders []net.HardwareAddr) error {
	return withLink(ns, link, func(h *netlink.Handle, l netlink.Link) error {
		index := l.Attrs().Index
		if err := unblock(h, l); err != nil || len(senders) == 0 {
			return err
		}
		clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}}
		if err := h.QdiscAdd(clsact); err != nil && !errors.Is(err, unix.EEXIST) {
			return explainTC("sch_ingress", err)
		}
		for i, mac := range senders {
			err := h.FilterAdd(&netlink.Flower{
				FilterAttrs: netlink.FilterAttrs{
					LinkIndex: index, Parent: netlink.HANDLE_MIN_EGRESS, Priority: blockPriority + uint16(i), Protocol: unix.ETH_P_ALL,
				},
				SrcMac:  mac,
				Actions: []netlink.Action{&netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_SHOT}}},
			})
			if err != nil {
				return errors.Join(explainTC("cls_flower and act_gact", err), unblock(h, l))
			}
		}
		return checkBlocked(h, l, senders)
	})
}

// unblock takes away what Block has made, if anything.
func unblock(h *netlink.Handle, l netlink.Link) error {
	filters, err := blocks(h, l)
	if err != nil {
		return err
	}
	for _, f := range filters {
		if err := h.FilterDel(f); err != nil {
			return fmt.Errorf("remove filter: %w", err)
		}
	}
	return nil
}

// blocks lists the filters that Block has made.
func blocks(h *netlink.Handle, l netlink.Link) ([]*netlink.Flower, error) {
	all, err := Retry(func() ([]netlink.Filter, error) { return h.FilterList(l, netlink.HANDLE_MIN_EGRESS) })
	if errors.Is(err, unix.EINVAL) {
		return nil, nil // no clsact there
	}
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	var own []*netlink.Flower
	for _, f := range all {
		if flower, ok := f.(*netlink.Flower); ok && flower.Priority >= blockPriority && flower.SrcMac != nil {
			own = append(own, flower)
		}
	}
	return own, nil
}

func checkBlocked(h *netlink.Handle, l netlink.Link, senders []net.HardwareAddr) error {
	have, err := blocks(h, l)
	if err != nil {
		return err
	}
	for _, mac := range senders {
		if !slices.ContainsFunc(have, func(f *netlink.Flower) bool { return bytes.Equal(f.SrcMac, mac) }) {
			return fmt.Errorf("the kernel does not hold the filter of %s after it was written", mac)
		}
	}
	return nil
}

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
