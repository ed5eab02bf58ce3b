package rtnl

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control is a socket for the few questions that are ioctls. It lives in the
// namespace in which it was opened.
type Control struct{ fd int }

// OpenControl opens a Control in the namespace of the calling thread.
func OpenControl() (*Control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return &Control{fd: fd}, nil
}

// Close closes the socket.
func (c *Control) Close() error { return unix.Close(c.fd) }

// Index finds an interface's index by name.
func (c *Control) Index(name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("find interface %q: %w", name, err)
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, fmt.Errorf("find interface %s: %w", name, err)
	}
	return int(ifr.Uint32()), nil
}

// MTU reads an interface's MTU in bytes.
func (c *Control) MTU(name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("read MTU of %q: %w", name, err)
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFMTU, ifr); err != nil {
		return 0, fmt.Errorf("read MTU of %s: %w", name, err)
	}
	return int(ifr.Uint32()), nil
}

// ethtoolValue is struct ethtool_value (include/uapi/linux/ethtool.h).
type ethtoolValue struct{ cmd, data uint32 }

// ifreqData is struct ifreq with a pointer in its union (netdevice(7)).
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// NoTxChecksum makes the stack compute checksums itself before it hands packets
// to the interface. A veth claims to do it and doesn't: a packet that is then
// wrapped into a tunnel or captured carries a wrong one.
func (c *Control) NoTxChecksum(name string) error {
	if err := c.ethtool(name, &ethtoolValue{cmd: unix.ETHTOOL_STXCSUM}); err != nil {
		return fmt.Errorf("switch off checksum offload of %s: %w", name, err)
	}
	got := ethtoolValue{cmd: unix.ETHTOOL_GTXCSUM}
	if err := c.ethtool(name, &got); err != nil {
		return fmt.Errorf("read checksum offload of %s: %w", name, err)
	}
	if got.data != 0 {
		return fmt.Errorf("switch off checksum offload of %s: it is still on", name)
	}
	return nil
}

func (c *Control) ethtool(name string, v *ethtoolValue) error {
	ifr := ifreqData{data: unsafe.Pointer(v)}
	if len(name) >= unix.IFNAMSIZ {
		return unix.ENAMETOOLONG
	}
	copy(ifr.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	if errno != 0 {
		return errno
	}
	return nil
}
