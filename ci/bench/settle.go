package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A namespace that has ended is still to be taken down: the kernel does that in
// the background, one batch after the other, with the locks that making
// namespaces and links needs as well (net/core/net_namespace.c: cleanup_net). A
// contender must not pay for the one before it.

// settleTimeout is for thousands of namespaces on a busy machine.
const settleTimeout = 2 * time.Minute

// settle returns when every namespace that had ended when it was called has been
// taken down. It ends one of its own and sees it go; that may be in the midst of
// the others' batch, so it does so twice.
func settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	home, err := lookout()
	if err != nil {
		return fmt.Errorf("wait for the kernel to take namespaces down: %w", err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is elsewhere
		done <- errors.Join(seeOneGo(ctx, home), seeOneGo(ctx, home))
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("wait for the kernel to take namespaces down: %w", err)
	}
	return nil
}

// lookout is a namespace for watching from. It stays as long as the process:
// its end would be one more to wait for.
var lookout = sync.OnceValues(func() (int, error) {
	type outcome struct {
		fd  int
		err error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- outcome{-1, os.NewSyscallError("unshare", err)}
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		done <- outcome{fd, err}
	}()
	o := <-done
	return o.fd, o.err
})

// seeOneGo makes a namespace with one end of a veth in it, whose other end is
// at home, leaves it to itself, and waits until the veth is gone.
func seeOneGo(ctx context.Context, home int) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	const seen = "seen"
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "gone"}, PeerName: seen, PeerNamespace: netlink.NsFd(home)}
	err := netlink.LinkAdd(veth)
	if err := errors.Join(err, unix.Setns(home, unix.CLONE_NEWNET)); err != nil {
		return fmt.Errorf("leave a namespace with a veth: %w", err)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := netlink.LinkByName(seen)
		var gone netlink.LinkNotFoundError
		if errors.As(err, &gone) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for the veth: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settled is a contender that starts when the kernel is done with what the one before left.
func settled(run func(context.Context) (time.Duration, error)) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		if err := settle(ctx); err != nil {
			return 0, err
		}
		return run(ctx)
	}
}
