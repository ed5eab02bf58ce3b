package main

import (
	"errors"
	"runtime"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestSettle: what is in namespaces that have ended is gone.
func TestSettle(t *testing.T) {
	probetest.Namespaces(t)
	home, err := lookout()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- func() error {
			for range 20 {
				if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
					return err
				}
			}
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "there"}, PeerName: "here", PeerNamespace: netlink.NsFd(home)}
			if err := netlink.LinkAdd(veth); err != nil {
				return err
			}
			return unix.Setns(home, unix.CLONE_NEWNET)
		}()
		done <- settle(t.Context())
		_, err := netlink.LinkByName("here")
		done <- err
	}()
	for _, what := range []string{"make namespaces", "settle"} {
		if err := <-done; err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	var gone netlink.LinkNotFoundError
	if !errors.As(<-done, &gone) {
		t.Error("a veth into a namespace that has ended is still there")
	}
}
