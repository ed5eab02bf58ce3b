package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Secure bits (include/uapi/linux/securebits.h): uid 0 means nothing, for good.
const (
	noRoot       = 1<<0 | 1<<1
	noSetuidFix  = 1<<2 | 1<<3
	noKeepCaps   = 1 << 5
	noAmbient    = 1<<6 | 1<<7
	allSecurebit = noRoot | noSetuidFix | noKeepCaps | noAmbient
)

// dropPrivileges gives up every capability of this thread and every way to get
// one. Only the thread is concerned: the execution that follows leaves no other.
func dropPrivileges() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	last, err := lastCapability()
	if err != nil {
		return err
	}
	capable := false
	for c := range last + 1 {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err == nil {
			capable = true
		} else if !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("drop capability %d from bounding set: %w", c, err)
		}
	}
	if capable { // without CAP_SETPCAP there is nothing to bound
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, allSecurebit, 0, 0, 0); err != nil {
			return fmt.Errorf("set secure bits: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

func lastCapability() (int, error) {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if errors.Is(err, os.ErrNotExist) {
		return unix.CAP_LAST_CAP, nil // no /proc in here
	}
	if err != nil {
		return 0, fmt.Errorf("read last capability: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
