package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nowhere is a path at which there is never a program.
const nowhere = "/proc/self/fdinfo/none"

// tryChild makes a child with the attributes and has it execute a program
// that does not exist: when that is all that fails, the attributes work. No
// program runs, and the child is reaped before this returns.
func tryChild(attr *syscall.SysProcAttr) error {
	_, err := os.StartProcess(nowhere, []string{nowhere}, &os.ProcAttr{Sys: attr})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func checkPtrace(_ *env, name, _ string) Feature {
	if err := tryChild(&syscall.SysProcAttr{Ptrace: true}); err != nil {
		return no(name, fmt.Sprintf("trace a child: %v", err),
			"allow ptrace (container: --cap-add SYS_PTRACE or another seccomp profile; host: kernel.yama.ptrace_scope below 3)")
	}
	return yes(name, "")
}

const remedyUserNS = "allow user namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone, " +
	"kernel.apparmor_restrict_unprivileged_userns), or run as root"

func checkUserNamespace(_ *env, name, _ string) Feature {
	if err := tryChild(userNamespace()); err != nil {
		return no(name, fmt.Sprintf("make a user namespace: %v", err), remedyUserNS)
	}
	return yes(name, "")
}

// checkMounts changes the propagation of the mounts in a new mount namespace
// (that is what the Go runtime does after unsharing one), first as the process
// is, then in a user namespace of its own.
func checkMounts(_ *env, name, _ string) Feature {
	if tryChild(&syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) == nil {
		return yes(name, "by privilege")
	}
	attr := userNamespace()
	attr.Unshareflags = syscall.CLONE_NEWNS
	if err := tryChild(attr); err != nil {
		return no(name, fmt.Sprintf("mount in a user namespace: %v", err), remedyUserNS)
	}
	return yes(name, "in a user namespace")
}

func userNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// checkKVM never opens the device: that it exists proves nothing, and on some
// machines using it hangs.
func checkKVM(_ *env, name, _ string) Feature {
	if os.Getenv("IPVSLAB_KVM") == "off" {
		return no(name, "switched off by IPVSLAB_KVM=off", "")
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return no(name, "no /dev/kvm", "")
	}
	if err := unix.Access("/dev/kvm", unix.R_OK|unix.W_OK); err != nil {
		return no(name, fmt.Sprintf("/dev/kvm: %v", err), "add the user to the group kvm")
	}
	return unknown(name, "/dev/kvm exists; only a probe boot can tell")
}

// guestMemory is the least free space, in bytes, that a guest's memory file
// is given: with less, the guest dies of SIGBUS when it fills up.
const guestMemory = 288 << 20

// checkTmp looks for a directory that user-mode Linux can keep the guest's
// memory in: writable, and its files may be mapped for execution.
func checkTmp(_ *env, name, _ string) Feature {
	dirs := []string{os.Getenv("TMPDIR"), "/dev/shm", "/tmp"}
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, cache, filepath.Dir(cache))
	}
	var tried []string
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		var st unix.Statfs_t
		switch {
		case unix.Statfs(dir, &st) != nil:
		case unix.Access(dir, unix.W_OK) != nil || st.Flags&unix.ST_RDONLY != 0:
			tried = append(tried, dir+" is not writable")
		case st.Flags&unix.ST_NOEXEC != 0:
			tried = append(tried, dir+" is mounted noexec")
		case st.Bavail*uint64(st.Bsize) < guestMemory:
			tried = append(tried, fmt.Sprintf("%s has less than %d MiB free", dir, guestMemory>>20))
		default:
			free := st.Bavail * uint64(st.Bsize) >> 20
			return yes(name, fmt.Sprintf("%s, %d MiB free", dir, free))
		}
	}
	return no(name, strings.Join(tried, ", "), "set TMPDIR to a directory that is writable and not mounted noexec")
}
