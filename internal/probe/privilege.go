package probe

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// initUserNS is the fixed inode number of the initial user namespace,
// PROC_USER_INIT_INO in the kernel's include/linux/proc_ns.h.
const initUserNS = "user:[4026531837]"

// checkPrivilege tells an effective capability of the initial user namespace
// from one that counts only inside a namespace of the process's own.
func checkPrivilege(_ *env, name, arg string) Feature {
	capability := map[string]int{"net-admin": unix.CAP_NET_ADMIN, "sys-admin": unix.CAP_SYS_ADMIN}
	bit, ok := capability[arg]
	if !ok {
		return unknown(name, "no such privilege is known")
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return unknown(name, fmt.Sprintf("read capabilities: %v", err))
	}
	if data[bit/32].Effective&(1<<(bit%32)) == 0 {
		return no(name, fmt.Sprintf("uid %d without the capability", os.Getuid()), remedyPrivilege)
	}
	ns, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return unknown(name, fmt.Sprintf("which user namespace: %v", err))
	}
	if ns != initUserNS {
		return no(name, "only inside "+ns+", which is not the initial user namespace", remedyPrivilege)
	}
	return yes(name, "")
}
