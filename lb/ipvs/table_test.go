package ipvs_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/lbtest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// newNamespace gives the path of a namespace of its own, with lo up, that
// lives as long as the test. It skips where the kernel refuses one.
func newNamespace(t testing.TB) string {
	t.Helper()
	ready, done := make(chan any, 1), make(chan struct{})
	go func() { // the thread is never unlocked: it dies with the goroutine
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- err
			return
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		f, openErr := os.Open("/proc/thread-self/ns/net")
		if err = errors.Join(err, openErr); err != nil {
			ready <- err
			return
		}
		ready <- f
		<-done
	}()
	t.Cleanup(func() { close(done) })
	switch v := (<-ready).(type) {
	case *os.File:
		t.Cleanup(func() { v.Close() })
		return fmt.Sprintf("/proc/self/fd/%d", v.Fd())
	case error:
		if errors.Is(v, unix.EPERM) {
			skip(t, v)
		}
		t.Fatal(v)
	}
	return ""
}

// open opens the table of a namespace of its own, or skips where IPVS is
// proven to be missing.
func open(t testing.TB) *ipvs.Table {
	t.Helper()
	return openAt(t, newNamespace(t))
}

func openAt(t testing.TB, namespace string) *ipvs.Table {
	t.Helper()
	table, err := ipvs.Open(t.Context(), namespace)
	if errors.Is(err, lb.ErrNoIPVS) || errors.Is(err, lb.ErrNotPermitted) {
		skip(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func skip(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func TestKernelConforms(t *testing.T) {
	open(t) // skip as a whole, not each case
	lbtest.Conformance(t, func(t *testing.T) lb.Table { return open(t) })
}
