package probe

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/kmod"
)

// checkNFTables makes a table with a chain on a hook: a kernel can have
// nf_tables and yet no chains for IPv4 (Debian's user-mode Linux).
func checkNFTables(_ *env, name, family string) Feature {
	tf, ok := map[string]nftables.TableFamily{"ip": nftables.TableFamilyIPv4, "ip6": nftables.TableFamilyIPv6}[family]
	if !ok {
		return unknown(name, "no such table family is known")
	}
	conn, err := nftables.New(nftables.WithSockOptions(func(c *mdnetlink.Conn) error {
		return c.SetReadDeadline(time.Now().Add(time.Second))
	}))
	if err != nil {
		return no(name, fmt.Sprintf("open netfilter socket: %v", err), fmt.Sprintf(remedyModule, "nf_tables"))
	}
	// One message a batch: a kernel without nf_tables answers only the first,
	// and the library would wait for the answer to the second for ever.
	table := conn.AddTable(&nftables.Table{Family: tf, Name: "probe"})
	if err = conn.Flush(); err == nil {
		conn.AddChain(&nftables.Chain{
			Name: "probe", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle,
		})
		err = conn.Flush()
	}
	switch {
	case err == nil:
		return yes(name, "")
	case errors.Is(err, unix.EPERM), errors.Is(err, os.ErrDeadlineExceeded):
		return unknown(name, "make a chain: "+err.Error())
	default:
		return no(name, fmt.Sprintf("make a chain: %v", err), fmt.Sprintf(remedyModule, "nf_tables"))
	}
}

// The socket option IPT_SO_GET_INFO and struct ipt_getinfo, from the kernel's
// include/uapi/linux/netfilter_ipv4/ip_tables.h; ip6_tables has the same.
const iptSoGetInfo = 64

type iptGetInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	numEntries uint32
	size       uint32
}

// checkIPTables asks for the mangle table of ip_tables or ip6_tables, as
// iptables-legacy does; the kernel loads the table's module if it can.
func checkIPTables(_ *env, name, family string) Feature {
	domain, level, module, tables := unix.AF_INET, unix.SOL_IP, "iptable_mangle", "ip_tables"
	switch family {
	case "ip":
	case "ip6":
		domain, level, module, tables = unix.AF_INET6, unix.SOL_IPV6, "ip6table_mangle", "ip6_tables"
	default:
		return unknown(name, "no such family is known")
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return unknown(name, fmt.Sprintf("open raw socket: %v", err))
	}
	defer unix.Close(fd)
	if err := kmod.Ask(tables); err != nil {
		return unknown(name, err.Error())
	}
	var info iptGetInfo
	copy(info.name[:], "mangle")
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), iptSoGetInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	switch errno {
	case 0:
		return yes(name, "")
	case unix.EPERM:
		return unknown(name, "read table mangle: "+errno.Error())
	default:
		return no(name, "read table mangle: "+errno.Error(), fmt.Sprintf(remedyModule, module))
	}
}

// checkSocket opens a socket of the kind.
func checkSocket(_ *env, name, kind string) Feature {
	var fd int
	var err error
	module := kind
	switch kind {
	case "packet":
		module = "af_packet"
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	case "sctp":
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	default:
		return unknown(name, "no such kind of socket is known")
	}
	switch {
	case err == nil:
		unix.Close(fd)
		return yes(name, "")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return unknown(name, "open a socket: "+err.Error())
	default:
		return no(name, "open a socket: "+err.Error(), fmt.Sprintf(remedyModule, module))
	}
}

// checkFilesystem reads the list of registered filesystems; one that the
// kernel could load on demand but has not loaded yet is unknown.
func checkFilesystem(_ *env, name, fs string) Feature {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return unknown(name, err.Error())
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == fs {
			return yes(name, "")
		}
	}
	return unknown(name, "not in /proc/filesystems, but the kernel may load it on demand")
}
