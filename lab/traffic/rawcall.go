package traffic

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below are made without telling the Go scheduler (RawSyscall),
// which is right for calls that don't block: the sockets never do, and the
// epoll wait for a millisecond at most. The usual wrappers wake the runtime's monitor thread after every
// pause, and on a guest kernel with one processor such a switch costs more
// than the call.

func rawResult(n uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

func rawRead(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return rawResult(n, errno)
}

func rawWrite(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return rawResult(n, errno)
}

func rawClose(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	_, err := rawResult(0, errno)
	return err
}

// rawYield lets other processes run (sched_yield(2)).
func rawYield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

func rawEpollWait(fd int, events []unix.EpollEvent, millis int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(millis), 0, 0)
	return rawResult(n, errno)
}

func rawEpollCtl(fd, op, target int, event *unix.EpollEvent) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(fd), uintptr(op), uintptr(target),
		uintptr(unsafe.Pointer(event)), 0, 0)
	_, err := rawResult(0, errno)
	return err
}

func rawTimerfdSettime(fd int, spec *unix.ItimerSpec) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(fd), 0, uintptr(unsafe.Pointer(spec)), 0, 0, 0)
	_, err := rawResult(0, errno)
	return err
}

// rawAddr is an address in the kernel's form, made once per destination.
type rawAddr struct {
	storage unix.RawSockaddrInet6 // the larger of the two
	size    uintptr
}

func newRawAddr(ap netip.AddrPort) *rawAddr {
	port := [2]byte{byte(ap.Port() >> 8), byte(ap.Port())} // network byte order
	r := &rawAddr{}
	if a := ap.Addr().Unmap(); a.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.storage))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.As4()}
		v4.Port = *(*uint16)(unsafe.Pointer(&port))
		r.size = unix.SizeofSockaddrInet4
		return r
	}
	r.storage = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ap.Addr().As16()}
	r.storage.Port = *(*uint16)(unsafe.Pointer(&port))
	r.size = unix.SizeofSockaddrInet6
	return r
}

func rawConnect(fd int, to *rawAddr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to.storage)), to.size)
	_, err := rawResult(0, errno)
	return err
}

// rawSource reads a socket's own address.
func rawSource(fd int) netip.AddrPort {
	var r unix.RawSockaddrInet6
	size := uint32(unix.SizeofSockaddrInet6)
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&r)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	port := (*[2]byte)(unsafe.Pointer(&r.Port))
	number := uint16(port[0])<<8 | uint16(port[1])
	if r.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&r)).Addr), number)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(r.Addr).Unmap(), number)
}
