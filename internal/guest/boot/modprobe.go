package boot

import (
	"fmt"
	"os"
	"strings"

	"github.com/ipvslab/ipvslab/internal/guest/modules"
)

// ownFile is pid 1's own file, which is in memory already.
const ownFile = "/proc/1/exe"

// helper is what the kernel executes when it wants a module.
const helper = ownFile

// indexLink leads the helper to the index of modules.
const indexLink = "/run/ipvslab/modules.json"

// serveRequests has the kernel ask this binary for modules. Before, and without
// an index, it asks nobody.
func serveRequests(index string) error {
	if index == "" {
		return nil
	}
	if err := os.Symlink(index, indexLink); err != nil {
		return fmt.Errorf("serve kernel's requests for modules: %w", err)
	}
	return writeSetting("/proc/sys/kernel/modprobe", helper)
}

// RunHelper answers one request of the kernel, or of a program such as
// iptables that looks up the helper itself, and does not return. In any other
// process it returns at once.
//
// The kernel's call is "modprobe -q -- NAME" (kernel/kmod.c), iptables' "modprobe NAME -q".
func RunHelper() {
	if os.Args[0] != helper {
		return
	}
	for _, name := range os.Args[1:] {
		if strings.HasPrefix(name, "-") {
			continue
		}
		if err := modules.LoadFor(indexLink, name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(0)
}
