package traffic

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// needRoot skips a test that makes namespaces, when the kernel really says no.
func needRoot(t *testing.T) {
	t.Helper()
	err := inNewThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	if err == nil {
		return
	}
	if errors.Is(err, unix.EPERM) && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1" {
		t.Skipf("making a network namespace: %v", err)
	}
	t.Fatalf("making a network namespace: %v", err)
}

// inNewThread runs fn on a thread that ends with it.
func inNewThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not to be used again
		done <- fn()
	}()
	return <-done
}

// newNamespace makes a network namespace that lives as long as the test.
func newNamespace(t *testing.T) Enter {
	t.Helper()
	needRoot(t)
	var fd int
	err := inNewThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatalf("make namespace: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func(fn func() error) error {
		return inNewThread(func() error {
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return err
			}
			return fn()
		})
	}
}
