package director

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/netns"
)

// wire is the process's end of a TUN device.
type wire struct {
	name string
	fd   int
	buf  [2048]byte
}

func openWire(ns *netns.NS, name string) (*wire, error) {
	w := &wire{name: name, fd: -1}
	err := ns.Do(func() (err error) {
		// The device is made in the namespace of the thread that opens the file.
		w.fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		return unix.IoctlIfreq(w.fd, unix.TUNSETIFF, req)
	})
	if err != nil {
		if w.fd >= 0 {
			err = errors.Join(err, unix.Close(w.fd))
		}
		return nil, fmt.Errorf("make tun device %s: %w", name, err)
	}
	return w, nil
}

// send hands the kernel a packet as if it came by the wire. The kernel is done
// with it, forwarding included, when the call returns.
func (w *wire) send(packet []byte) error {
	for {
		_, err := unix.Write(w.fd, packet)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write to wire %s: %w", w.name, err)
		}
	}
}

// receive is the next packet that the kernel has put on the wire, valid until
// the next call; nil if there is none.
func (w *wire) receive() ([]byte, error) {
	for {
		n, err := unix.Read(w.fd, w.buf[:])
		switch {
		case err == nil:
			return w.buf[:n], nil
		case errors.Is(err, unix.EAGAIN):
			return nil, nil
		case !errors.Is(err, unix.EINTR):
			return nil, fmt.Errorf("read from wire %s: %w", w.name, err)
		}
	}
}

// wait returns when one of the wires has a packet, or with false when that many
// milliseconds have been left, each of them slept through.
func wait(left *int, wires ...*wire) (bool, error) {
	fds := make([]unix.PollFd, len(wires))
	for i, w := range wires {
		fds[i] = unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN}
	}
	for *left > 0 {
		n, err := unix.Poll(fds, 1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n > 0:
			return n > 0, err
		default:
			*left--
		}
	}
	return false, nil
}

func (w *wire) close() error { return unix.Close(w.fd) }
