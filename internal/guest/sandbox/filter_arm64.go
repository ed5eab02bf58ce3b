package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch     = unix.AUDIT_ARCH_AARCH64
	cloneFlagsArg = 0
)

// archRules are about the calls that only older architectures have: here none.
func archRules() []rule { return nil }
