package traffic

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes a loop at a time, by an event of its epoll set. A deadline of
// the Go runtime would do the same, but the scheduler then reads the clock
// whenever it looks for work, and in a guest kernel that is a system call.
type alarm struct {
	fd int // timerfd_create(2)
}

// alarmSlot is the alarm's number in epoll events.
const alarmSlot = -1

func newAlarm(epollFD int) (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return alarm{}, fmt.Errorf("make timer: %w", err)
	}
	// Told of once each time (EPOLLET), it need not be read.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: alarmSlot}
	if err := rawEpollCtl(epollFD, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		unix.Close(fd)
		return alarm{}, fmt.Errorf("wait for timer: %w", err)
	}
	return alarm{fd}, nil
}

// set has the alarm go off once, after a while that is longer than zero, in
// place of what was set before.
func (a alarm) set(after time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after))}
	if err := rawTimerfdSettime(a.fd, &spec); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}

func (a alarm) close() error { return rawClose(a.fd) }

// heed ends a wait for events when the context ends, until it is told to stop.
func (l *loop) heed(ctx context.Context) (stop func()) {
	cut := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		_ = l.epoll.SetReadDeadline(time.Unix(1, 0)) // fails on a closed file only; waiting then says so
		close(cut)
	})
	return func() {
		if !undo() {
			<-cut
			_ = l.epoll.SetReadDeadline(time.Time{}) // a session goes on after a call that was cut short
		}
	}
}
