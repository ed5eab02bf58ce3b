package capture

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// clock keeps the kernel's time stamping of packets switched on from a process's
// first capture to its end. The kernel switches it on by a deferred job some
// milliseconds after the first socket asks, and off by another after the last
// has gone (net_enable_timestamp in net/core/dev.c); until it is on a packet gets
// the time at which it is read, and captures at several places come out in the
// wrong order. A job that is about to switch it off can't be seen: so it is
// never let go.
var clock stamping

type stamping struct {
	mu sync.Mutex
	on bool // by a socket that stays open
}

// hold returns when packets are stamped as they pass, in all namespaces.
func (s *stamping) hold() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		return nil
	}
	if err := awaitStamps(); err != nil {
		return fmt.Errorf("switch on time stamps: %w", err)
	}
	s.on = true
	return nil
}

// awaitStamps sends itself datagrams over the loopback of a namespace of its
// own, made for this, until one is stamped before it is read. The socket stays
// open, and with it the namespace.
func awaitStamps() (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("make network namespace: %w", err)
			return
		}
		var fd int
		if fd, err = stampedSocket(); err != nil {
			return
		}
		if err = stampedInTime(fd); err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	<-done
	return err
}

// stampedSocket makes a UDP socket that is connected to itself.
func stampedSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	err = func() error {
		ifr, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_UP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("set SO_TIMESTAMPNS: %w", err)
		}
		timeout := unix.NsecToTimeval(int64(time.Second))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return fmt.Errorf("set SO_RCVTIMEO: %w", err)
		}
		self := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
		return errors.Join(unix.Bind(fd, self), unix.Connect(fd, self))
	}()
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func stampedInTime(fd int) error {
	buf, oob := make([]byte, 8), make([]byte, 128)
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := unix.Write(fd, []byte("stamp")); err != nil {
			return fmt.Errorf("send over loopback: %w", err)
		}
		sent := time.Now()
		_, n, _, _, err := unix.Recvmsg(fd, buf, oob, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("receive over loopback: %w", err)
		}
		if at, ok := stamp(oob[:max(n, 0)]); ok && !at.After(sent) {
			return nil
		}
		if sent.After(deadline) {
			return errors.New("the kernel still stamps packets at reading, after 20 s")
		}
	}
}
