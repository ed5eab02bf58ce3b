package guest

import (
	"fmt"
	"os"

	"github.com/ipvslab/ipvslab/internal/guest/boot"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/qemu"
	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
	"github.com/ipvslab/ipvslab/internal/guest/uml"
)

// launchers are the kinds of guest, each with its two halves.
var launchers = map[string]struct {
	host   machine.Launcher
	inside machine.Inside
}{
	uml.Kind:  {uml.Launcher{}, uml.Inside{}},
	qemu.Kind: {qemu.Launcher{}, qemu.Inside{}},
}

// Hook must be called first thing in main, and in TestMain of tests that boot
// guests. If this process was started to be a guest's init, a stage of the sandbox or a
// supervisor, Hook is that and never returns; else it returns at once.
func Hook() {
	if os.Getpid() == 1 && len(os.Args) > 2 && os.Args[1] == machine.Mark {
		kind := os.Args[2]
		l, ok := launchers[kind]
		if !ok {
			fmt.Fprintf(os.Stderr, "ipvslab: guest: unknown kind %q\n", kind)
			os.Exit(1)
		}
		boot.Run(kind, l.inside)
	}
	boot.RunHelper()
	sandbox.Hook()
	if len(os.Args) == 3 && os.Args[0] == "ipvslab" && os.Args[1] == superviseMark {
		os.Exit(runSupervisor(os.Args[2]))
	}
}
