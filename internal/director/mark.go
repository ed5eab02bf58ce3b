package director

import (
	"fmt"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Mark puts a firewall mark on every packet that comes by the client wire
// (tc-skbedit(8)). It needs the kernel's clsact, matchall and skbedit.
func (d *Director) Mark(mark uint32) error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(d.ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(d.client.name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", d.client.name, err)
	}
	index := link.Attrs().Index
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := h.QdiscAdd(qdisc); err != nil {
		return fmt.Errorf("add clsact to %s: %w", d.client.name, err)
	}
	edit := netlink.NewSkbEditAction()
	edit.Mark = &mark
	filter := &netlink.MatchAll{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{edit},
	}
	if err := h.FilterAdd(filter); err != nil {
		return fmt.Errorf("mark packets on %s: %w", d.client.name, err)
	}
	return nil
}
