package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch     = unix.AUDIT_ARCH_X86_64
	cloneFlagsArg = 0
)

// archRules are about the calls that only older architectures have.
func archRules() []rule {
	return []rule{
		denyBits(unix.SYS_CHMOD, 1, setIDs),
		denyBits(unix.SYS_OPEN, 2, setIDs),
		denyBits(unix.SYS_CREAT, 1, setIDs),
		denyBits(unix.SYS_MKDIR, 1, setIDs),
		denyBits(unix.SYS_MKNOD, 1, setIDs),
	}
}
