package sandbox

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h), little endian.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// rule denies a system call, always or when an argument has one of some bits,
// or equals a value. Only the low halves of arguments are looked at: all are ints.
type rule struct {
	number uintptr
	arg    int
	bits   uint32 // deny if arg&bits != 0; zero: see value
	value  uint32 // deny if arg == value, when equal is set
	equal  bool
	errno  unix.Errno
}

func deny(numbers ...uintptr) (rules []rule) {
	for _, n := range numbers {
		rules = append(rules, rule{number: n, errno: unix.EPERM})
	}
	return rules
}

// missing answers that the kernel does not have the call, so that callers take an older one.
func missing(numbers ...uintptr) (rules []rule) {
	for _, n := range numbers {
		rules = append(rules, rule{number: n, errno: unix.ENOSYS})
	}
	return rules
}

func denyBits(number uintptr, arg int, bits uint32) rule {
	return rule{number: number, arg: arg, bits: bits, errno: unix.EPERM}
}

const (
	setIDs  = unix.S_ISUID | unix.S_ISGID
	newNS   = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	sysX32  = 0x40000000 // __X32_SYSCALL_BIT
	typeMax = 0xf        // SOCK_TYPE_MASK
)

// rules is what namespaces and file permissions leave open:
//
//   - sockets of the host's services. A network namespace does not cut off unix
//     sockets that have a path, and a read-only mount does not forbid to connect.
//     Datagrams reach an address without connect, hence no unix socket at all, and
//     of pairs only those of the stream kind.
//   - setuid and setgid bits: a file in the working directory may be root's
//   - the calls that would make new namespaces, mounts or keys, or load code
//     into the host's kernel. No capability is there for most of them; it costs nothing.
//   - io_uring and openat2, whose arguments this filter cannot see
func rules() []rule {
	r := deny(unix.SYS_CONNECT, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_QUOTACTL)
	r = append(r, missing(unix.SYS_IO_URING_SETUP, unix.SYS_OPENAT2, unix.SYS_CLONE3, unix.SYS_FCHMODAT2)...)
	r = append(r,
		rule{number: unix.SYS_SOCKET, arg: 0, value: unix.AF_UNIX, equal: true, errno: unix.EACCES},
		rule{number: unix.SYS_SOCKETPAIR, arg: 1, bits: 0, value: unix.SOCK_DGRAM, equal: true, errno: unix.EACCES},
		denyBits(unix.SYS_CLONE, cloneFlagsArg, newNS),
		denyBits(unix.SYS_FCHMOD, 1, setIDs),
		denyBits(unix.SYS_FCHMODAT, 2, setIDs),
		denyBits(unix.SYS_OPENAT, 3, setIDs),
		denyBits(unix.SYS_MKDIRAT, 2, setIDs),
		denyBits(unix.SYS_MKNODAT, 2, setIDs),
	)
	return append(r, archRules()...)
}

// program assembles the filter. Each rule is a block of its own, so that jumps stay short.
func program() ([]unix.SockFilter, error) {
	refuse := func(e unix.Errno) bpf.Instruction {
		return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
	}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		refuse(unix.ENOSYS),
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: sysX32, SkipTrue: 1},
		refuse(unix.ENOSYS),
	}
	for _, r := range rules() {
		var test []bpf.Instruction
		arg := bpf.LoadAbsolute{Off: uint32(offArgs + 8*r.arg), Size: 4}
		switch {
		case r.bits != 0:
			test = []bpf.Instruction{arg, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: r.bits, SkipFalse: 1}}
		case r.equal:
			test = []bpf.Instruction{arg}
			if r.number == unix.SYS_SOCKETPAIR { // its type carries flags
				test = append(test, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: typeMax})
			}
			test = append(test, bpf.JumpIf{Cond: bpf.JumpEqual, Val: r.value, SkipFalse: 1})
		}
		block := slices.Concat(test, []bpf.Instruction{refuse(r.errno)})
		if len(test) > 0 { // not denied: nothing else is said about this call
			block = append(block, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
		}
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(r.number), SkipFalse: uint8(len(block))})
		p = append(p, block...)
	}
	p = append(p, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
	raw, err := bpf.Assemble(p)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	out := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		out[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return out, nil
}

// installFilter installs the filter for this thread and all it will start.
func installFilter() error {
	p, err := program()
	if err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	err = unix.PrctlArg5Ptr(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, nil)
	if err != nil {
		return fmt.Errorf("install system call filter: %w", err)
	}
	return nil
}
