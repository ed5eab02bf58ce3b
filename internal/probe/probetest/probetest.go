// Package probetest says what a test needs of the machine that it runs on. It
// skips the test where that is proven to be missing, and nowhere else: what is
// missing has been tried.
//
// Whoever runs the tests can forbid the skips, which are then failures:
// IPVSLAB_REQUIRE_KERNEL=1 those for want of something in the kernel or of a
// privilege, IPVSLAB_REQUIRE_KEEPALIVED=1 and IPVSLAB_REQUIRE_IPVSADM=1 those
// for want of the program. Only tests import this package; it imports
// internal/probe, and must not import what is tested with it.
package probetest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	_ "github.com/ipvslab/ipvslab/internal/guest/prefault" // tests start themselves, in guests

	"github.com/ipvslab/ipvslab/internal/probe"
)

// Namespaces skips unless the kernel gives a child of this process a network
// and a mount namespace.
func Namespaces(t testing.TB) {
	t.Helper()
	Clone(t, syscall.CLONE_NEWNET|syscall.CLONE_NEWNS)
}

// Clone skips unless the kernel makes a child of this process with those flags
// of clone(2).
func Clone(t testing.TB, flags uintptr) {
	t.Helper()
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if err := cmd.Run(); err != nil {
		refuse(t, "KERNEL", "the kernel gives a child no namespaces: clone(%#x): %v", flags, err)
	}
}

// Features skips unless this kernel has them all, by their names in
// internal/probe, and lets this process use them.
func Features(t testing.TB, names ...string) {
	t.Helper()
	if missing := probe.Only(t.Context(), names...).Missing(names...); missing != nil {
		refuse(t, "KERNEL", "%v", missing)
	}
}

// Keepalived is the path of the installed keepalived(8); it skips without.
func Keepalived(t testing.TB) string {
	t.Helper()
	return program(t, "keepalived", "KEEPALIVED")
}

// HaveKeepalived tells whether keepalived(8) is installed, for a test that has
// something to do without, too. It logs what is left out.
func HaveKeepalived(t testing.TB) bool {
	t.Helper()
	_, err := probe.Program("keepalived")
	switch {
	case err == nil:
		return true
	case required("KEEPALIVED"):
		t.Fatal(err)
	}
	t.Logf("left out what keepalived does: %v", err)
	return false
}

// Ipvsadm is the path of the installed ipvsadm(8); it skips without.
func Ipvsadm(t testing.TB) string {
	t.Helper()
	return program(t, "ipvsadm", "IPVSADM")
}

func program(t testing.TB, name, what string) string {
	t.Helper()
	path, err := probe.Program(name)
	if err != nil {
		refuse(t, what, "%v", err)
	}
	return path
}

func refuse(t testing.TB, what, format string, args ...any) {
	t.Helper()
	if required(what) {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func required(what string) bool { return os.Getenv("IPVSLAB_REQUIRE_"+what) == "1" }
