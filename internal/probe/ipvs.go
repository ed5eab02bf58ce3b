package probe

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Commands and attributes of IPVS's generic-netlink family, version 1, from
// the kernel's include/uapi/linux/ip_vs.h.
const (
	ipvsVersion    = 1
	cmdNewService  = 1
	cmdGetInfo     = 15
	attrService    = 1
	svcAttrAF      = 1
	svcAttrProto   = 2
	svcAttrAddr    = 3
	svcAttrPort    = 4
	svcAttrSched   = 6
	svcAttrFlags   = 7
	svcAttrTimeout = 8
	svcAttrNetmask = 9
)

// env is what the checks of one probe share.
type env struct {
	route      *netlink.Handle // in the throw-away namespace
	ipvsFamily uint16
	ipvsErr    error // the family's lookup
	ipvsLooked bool
	port       uint16 // of the last service made
}

func newEnv() *env { return &env{} }

func (e *env) close() {
	if e.route != nil {
		e.route.Close()
		e.route = nil
	}
}

// handle is a route netlink socket in the calling thread's namespace. The
// family is named because user-mode Linux has no XFRM, which an unnamed one
// would include.
func (e *env) handle() (*netlink.Handle, error) {
	if e.route != nil {
		return e.route, nil
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route socket: %w", err)
	}
	e.route = h
	return h, nil
}

// family looks IPVS's generic-netlink family up, once. The lookup makes the
// kernel load ip_vs if it can.
func (e *env) family() (uint16, error) {
	if e.ipvsLooked {
		return e.ipvsFamily, e.ipvsErr
	}
	e.ipvsLooked = true
	f, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		e.ipvsErr = err
		return 0, err
	}
	e.ipvsFamily = f.ID
	return f.ID, nil
}

// checkIPVS looks the family up and then asks for its version: every IPVS
// request, reads included, needs CAP_NET_ADMIN in the initial user namespace,
// so that the answer to a read tells whether writes are allowed.
func checkIPVS(e *env, name, _ string) Feature {
	id, err := e.family()
	switch {
	case errors.Is(err, unix.ENOENT):
		return no(name, "the kernel has no generic-netlink family IPVS", remedyIPVS)
	case err != nil:
		return unknown(name, fmt.Sprintf("look up generic-netlink family IPVS: %v", err))
	}
	req := nl.NewNetlinkRequest(int(id), 0)
	req.AddData(&nl.Genlmsg{Command: cmdGetInfo, Version: ipvsVersion})
	_, err = req.Execute(unix.NETLINK_GENERIC, 0)
	switch {
	case errors.Is(err, unix.EPERM):
		return no(name, "the kernel has it, but it takes CAP_NET_ADMIN in the initial user namespace", remedyPrivilege)
	case err != nil:
		return unknown(name, fmt.Sprintf("ask IPVS for its version: %v", err))
	}
	return yes(name, "")
}

// checkScheduler adds a service with the scheduler in the throw-away
// namespace; the kernel loads the scheduler's module if it can.
func checkScheduler(e *env, name, sched string) Feature {
	id, err := e.family()
	if err != nil {
		return no(name, fmt.Sprintf("no IPVS: %v", err), remedyIPVS)
	}
	e.port++
	req := nl.NewNetlinkRequest(int(id), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: cmdNewService, Version: ipvsVersion})
	req.AddData(serviceAttr(sched, e.port))
	_, err = req.Execute(unix.NETLINK_GENERIC, 0)
	switch {
	case err == nil:
		return yes(name, "")
	case errors.Is(err, unix.ENOENT):
		return no(name, "scheduler not found", fmt.Sprintf(remedyScheduler, sched))
	case errors.Is(err, unix.EPERM):
		return unknown(name, "IPVS can't be set from here: "+err.Error())
	default:
		return unknown(name, fmt.Sprintf("add a service with it: %v", err))
	}
}

// schedulerUntried sharpens the verdict on a scheduler that could not be
// tried: without IPVS there is none.
func (e *env) schedulerUntried(f Feature) Feature {
	if _, err := e.family(); errors.Is(err, unix.ENOENT) {
		return no(f.Name, "the kernel has no IPVS", remedyIPVS)
	}
	return f
}

// serviceAttr describes the TCP service 192.0.2.1:port (TEST-NET-1, RFC 5737).
func serviceAttr(sched string, port uint16) *nl.RtAttr {
	addr := make([]byte, 16)
	copy(addr, []byte{192, 0, 2, 1})
	flags := make([]byte, 8) // no flags, and the mask under which they count
	binary.NativeEndian.PutUint32(flags[4:], 0xffffffff)

	svc := nl.NewRtAttr(attrService|unix.NLA_F_NESTED, nil)
	svc.AddRtAttr(svcAttrAF, nl.Uint16Attr(unix.AF_INET))
	svc.AddRtAttr(svcAttrProto, nl.Uint16Attr(unix.IPPROTO_TCP))
	svc.AddRtAttr(svcAttrAddr, addr)
	svc.AddRtAttr(svcAttrPort, binary.BigEndian.AppendUint16(nil, port))
	svc.AddRtAttr(svcAttrSched, nl.ZeroTerminated(sched))
	svc.AddRtAttr(svcAttrFlags, flags)
	svc.AddRtAttr(svcAttrTimeout, nl.Uint32Attr(0))
	svc.AddRtAttr(svcAttrNetmask, nl.Uint32Attr(0xffffffff))
	return svc
}
