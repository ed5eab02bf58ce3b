package rtnl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// blockPriority is of the first filter that Block makes; those of SetMarks stay
// below and are at the other hook.
const blockPriority = 0x1f50

// Block makes the link of that name send nothing that came in by one of these
// links, ports of the same bridge, whoever had sent it: an empty list ends it.
// The empty name stands for everything. It works by flower and gact at clsact's
// egress (tc-flower(8), indev), and is read back.
func Block(ns *netns.NS, link string, from []string) error {
	return withLink(ns, link, func(h *netlink.Handle, l netlink.Link) error {
		index := l.Attrs().Index
		if err := unblock(h, l); err != nil || len(from) == 0 {
			return err
		}
		clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}}
		if err := h.QdiscAdd(clsact); err != nil && !errors.Is(err, unix.EEXIST) {
			return explainTC("sch_ingress", err)
		}
		for i, port := range from {
			f := portFilter{index: index, parent: netlink.HANDLE_MIN_EGRESS, priority: blockPriority + uint16(i), from: port, drop: true}
			if err := f.add(ns); err != nil {
				return errors.Join(explainTC("cls_flower and act_gact", err), unblock(h, l))
			}
		}
		return checkBlocked(ns, index, from)
	})
}

// unblock takes away what Block has made, if anything.
func unblock(h *netlink.Handle, l netlink.Link) error {
	all, err := Retry(func() ([]netlink.Filter, error) { return h.FilterList(l, netlink.HANDLE_MIN_EGRESS) })
	if errors.Is(err, unix.EINVAL) {
		return nil // no clsact there
	}
	if err != nil {
		return fmt.Errorf("list filters: %w", err)
	}
	for _, f := range all {
		if f.Type() != "flower" || f.Attrs().Priority < blockPriority {
			continue
		}
		if err := h.FilterDel(f); err != nil {
			return fmt.Errorf("remove filter: %w", err)
		}
	}
	return nil
}

// checkBlocked reads back which links' packets are dropped.
func checkBlocked(ns *netns.NS, index int, from []string) error {
	have, err := portFilters(ns, index, netlink.HANDLE_MIN_EGRESS)
	if err != nil {
		return err
	}
	for _, port := range from {
		if !slices.Contains(have, port) {
			return fmt.Errorf("the kernel does not hold the filter of what comes from %q after it was written", port)
		}
	}
	return nil
}

// portFilter is a flower filter that knows packets by the link that they came
// in by (struct sk_buff, skb_iif). The netlink library's has no word for it.
type portFilter struct {
	index    int // of the link that packets leave by
	parent   uint32
	priority uint16
	from     string // empty: every packet
	class    uint32 // where they belong; 0: nowhere
	drop     bool
}

func (f *portFilter) add(ns *netns.NS) error {
	conn, err := DialIn(ns)
	if err != nil {
		return err
	}
	defer conn.Close()
	msg := nl.NewNetlinkRequest(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(f.index), Parent: f.parent,
		Info: netlink.MakeHandle(f.priority, nl.Swap16(unix.ETH_P_ALL)),
	})
	msg.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("flower")))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	if f.from != "" {
		options.AddRtAttr(nl.TCA_FLOWER_INDEV, nl.ZeroTerminated(f.from))
	}
	if f.class != 0 {
		options.AddRtAttr(nl.TCA_FLOWER_CLASSID, nl.Uint32Attr(f.class))
	}
	if f.drop {
		shot := &netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_SHOT}}
		if err := netlink.EncodeActions(options.AddRtAttr(nl.TCA_FLOWER_ACT, nil), []netlink.Action{shot}); err != nil {
			return fmt.Errorf("encode filter: %w", err)
		}
	}
	msg.AddData(options)
	return conn.Apply(context.Background(), Request{What: fmt.Sprintf("add filter of what comes from %q", f.from), msg: msg})
}

// portFilters lists the links whose packets flower filters of a link are about.
func portFilters(ns *netns.NS, index int, parent uint32) (from []string, err error) {
	var replies [][]byte
	err = ns.Do(func() error {
		msg := nl.NewNetlinkRequest(unix.RTM_GETTFILTER, unix.NLM_F_DUMP)
		msg.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: parent})
		replies, err = Retry(func() ([][]byte, error) { return msg.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER) })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	for _, m := range replies {
		attrs, err := nl.ParseRouteAttrAsMap(m[nl.SizeofTcMsg:])
		if err != nil {
			return nil, fmt.Errorf("parse filter: %w", err)
		}
		if unix.ByteSliceToString(attrs[nl.TCA_KIND].Value) != "flower" || len(attrs[nl.TCA_OPTIONS].Value) == 0 {
			continue // a chain's head
		}
		options, err := nl.ParseRouteAttrAsMap(attrs[nl.TCA_OPTIONS].Value)
		if err != nil {
			return nil, fmt.Errorf("parse filter: %w", err)
		}
		from = append(from, unix.ByteSliceToString(options[nl.TCA_FLOWER_INDEV].Value))
	}
	return from, nil
}
