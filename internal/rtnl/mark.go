package rtnl

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Mark puts a firewall mark on packets that come in for an address and a range
// of ports (inclusive; zero to zero is every port).
type Mark struct {
	Value       uint32
	Protocol    uint8 // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP
	Addr        netip.Addr
	First, Last uint16
}

// SetMarks marks packets that arrive on the interfaces with these indices, in the
// namespace of the calling thread: by tc's flower and skbedit on clsact's ingress
// (tc-flower(8), tc-skbedit(8)). That is before the routing decision, so that
// IPVS finds the mark. It is to be called once per interface.
func SetMarks(indices []int, marks []Mark) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route netlink socket: %w", err)
	}
	defer h.Close()
	for _, index := range indices {
		qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}}
		if err := h.QdiscAdd(qdisc); err != nil {
			return fmt.Errorf("prepare interface %d for marking: %w", index, explainTC("sch_ingress", err))
		}
		for i, m := range marks {
			if err := h.FilterAdd(m.filter(index, i)); err != nil {
				return fmt.Errorf("mark packets for %s with %d: %w", netip.AddrPortFrom(m.Addr, m.First), m.Value,
					explainTC("cls_flower and act_skbedit", err))
			}
		}
	}
	return nil
}

func (m Mark) filter(index, number int) *netlink.Flower {
	action := netlink.NewSkbEditAction()
	action.Mark = &m.Value
	protocol := nl.IPProto(m.Protocol)
	f := &netlink.Flower{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: uint16(number + 1), Protocol: unix.ETH_P_IP,
		},
		EthType: unix.ETH_P_IP,
		DestIP:  m.Addr.AsSlice(),
		IPProto: &protocol,
		Actions: []netlink.Action{action},
	}
	if m.Addr.Is6() {
		f.Protocol, f.EthType = unix.ETH_P_IPV6, unix.ETH_P_IPV6
	}
	switch {
	case m.First == m.Last:
		f.DestPort = m.First
	default:
		f.DstPortRangeMin, f.DstPortRangeMax = max(m.First, 1), m.Last
	}
	return f
}

func explainTC(modules string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (needs the kernel modules %s)", err, modules)
	}
	return err
}
