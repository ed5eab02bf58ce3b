package ipvs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveNow takes an answer that is there already, as it is nearly always,
// for the kernel answers while it is being asked; else it gives unix.EAGAIN.
func (c *conn) receiveNow() (int, error) {
	return c.now(unix.SYS_RECVFROM, c.buf, unix.MSG_TRUNC)
}

// now makes a system call on the socket that does not wait. Go's scheduler is
// not told: with a single processor it would hand that on to another thread
// at each of the thousands of calls that a long listing takes, only to get it back.
func (c *conn) now(call uintptr, b []byte, flags uintptr) (n int, err error) {
	controlErr := c.raw.Control(func(fd uintptr) {
		r, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			flags|unix.MSG_DONTWAIT, 0, 0)
		if n = int(r); errno != 0 {
			n, err = 0, errno
		}
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return n, err
}
