// Package kmod asks the kernel to load a module that nothing else makes it
// load, without running modprobe itself. It must import nothing of ours.
package kmod

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Ask has the kernel load the named module, if it can and this process may
// (CAP_SYS_MODULE). Whether it did is for the caller to see: a module that is
// not there is no error here.
//
// It asks for the index of an interface of that name, which there is not: for
// a name that is no device the kernel runs its module helper with the name
// itself (net/core/dev_ioctl.c, dev_load). So the name has at most 15 bytes.
func Ask(name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("ask for module %q: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("ask for module %s: %w", name, err)
	}
	defer unix.Close(fd)
	_ = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) // no such device
	return nil
}
