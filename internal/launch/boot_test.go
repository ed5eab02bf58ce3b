package launch

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/guest"
)

// What can be done about a kernel that does not even begin is said only of one
// that can be fetched again.
func TestDamaged(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/cache")
	const fetched, own = "/cache/ipvslab/kernels/user-mode-linux_6.1/usr/bin/linux.uml", "/opt/linux.uml"
	for name, c := range map[string]struct {
		err    error
		kernel string
		hint   bool
	}{
		"no error":         {nil, fetched, false},
		"no program":       {errors.New("start sandbox: start it: exec format error"), fetched, true},
		"no permission":    {errors.New("start sandbox: start it: permission denied"), fetched, true},
		"crash":            {&guest.DiedError{Reason: errors.New("run it: exit status 139")}, fetched, true},
		"crash with words": {&guest.DiedError{Reason: errors.New("run it: exit status 139"), Console: "Kernel panic"}, fetched, false},
		"panic at boot":    {&guest.DiedError{Booting: true, Reason: errors.New("run it: exit status 134"), Console: "Kernel panic"}, fetched, true},
		"timeout at boot":  {&guest.DiedError{Booting: true, Reason: errors.New("not ready"), Console: "Linux"}, fetched, false},
		"killed":           {&guest.DiedError{Reason: errors.New("run it: signal: killed")}, fetched, false},
		"one's own":        {errors.New("start it: exec format error"), own, false},
		"something else":   {errors.New("no room"), fetched, false},
	} {
		got := damaged(c.err, c.kernel)
		if !errors.Is(got, c.err) {
			t.Errorf("%s: %v is lost in %v", name, c.err, got)
		}
		if hint := got != nil && strings.Contains(got.Error(), "remove /cache/ipvslab/kernels/user-mode-linux_6.1 and"); hint != c.hint {
			t.Errorf("%s: %v", name, got)
		}
	}
}
