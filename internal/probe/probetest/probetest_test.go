package probetest

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// recorder takes a test's place, to see how it ends.
type recorder struct {
	testing.TB
	end, said string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Logf(f string, args ...any)   { r.said = fmt.Sprintf(f, args...) }
func (r *recorder) Fatal(args ...any)            { r.stop("fails", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(f string, args ...any) { r.stop("fails", fmt.Sprintf(f, args...)) }
func (r *recorder) Skipf(f string, args ...any)  { r.stop("skips", fmt.Sprintf(f, args...)) }

func (r *recorder) stop(end, said string) {
	r.end, r.said = end, said
	runtime.Goexit()
}

// play tells how a test ends, and what it says.
func play(t *testing.T, fn func(testing.TB)) (end, said string) {
	r := &recorder{TB: t, end: "goes on"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(r)
	}()
	<-done
	return r.end, r.said
}

// Each need skips where it isn't met, with what was tried, and fails where it
// is required; what else is required doesn't count.
func TestNeeds(t *testing.T) {
	const refused = syscall.CLONE_NEWNS | syscall.CLONE_FS // EINVAL, whoever asks: see clone(2)
	for _, c := range []struct {
		name, requires, says string
		need                 func(testing.TB)
	}{
		{"namespaces", "KERNEL", "invalid argument", func(t testing.TB) { Clone(t, refused) }},
		{"a feature", "KERNEL", "no-such-feature", func(t testing.TB) { Features(t, "no-such-feature") }},
		{"ipvsadm", "IPVSADM", "nobodys-ipvsadm is not installed", func(t testing.TB) { program(t, "nobodys-ipvsadm", "IPVSADM") }},
		{"keepalived", "KEEPALIVED", "nobodys-keepalived is not installed", func(t testing.TB) { program(t, "nobodys-keepalived", "KEEPALIVED") }},
	} {
		for _, required := range []string{"", "KERNEL", "KEEPALIVED", "IPVSADM"} {
			t.Run(c.name+", required: "+required, func(t *testing.T) {
				for _, env := range []string{"KERNEL", "KEEPALIVED", "IPVSADM"} {
					t.Setenv("IPVSLAB_REQUIRE_"+env, map[bool]string{true: "1"}[env == required])
				}
				want := "skips"
				if required == c.requires {
					want = "fails"
				}
				if end, said := play(t, c.need); end != want || !strings.Contains(said, c.says) {
					t.Errorf("it %s, saying %q; want that it %s, saying %q", end, said, want, c.says)
				}
			})
		}
	}
	if end, said := play(t, func(t testing.TB) { Clone(t, 0); program(t, "true", "KERNEL") }); end != "goes on" {
		t.Errorf("without a need it %s: %s", end, said)
	}
}
