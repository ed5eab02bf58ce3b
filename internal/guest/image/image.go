// Package image finds guest kernels on this machine and fetches packaged ones.
//
// A kernel is looked for in the user's cache, among the installed packages,
// and at a path of the user's own. [Fetch] gets packages as an ordinary user
// and changes nothing outside the cache: apt downloads and checks, dpkg-deb
// unpacks into a staging directory, and one rename makes the result visible.
// What is half fetched is never found.
//
// The package runs only the package manager's own programs. It must not
// import a launcher, nor anything of the lab.
package image

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// The launchers that a kernel can be for.
const (
	UML  = "uml"  // user-mode Linux: the kernel is a program
	QEMU = "qemu" // any other kernel
)

// Kernel is a kernel image on this machine.
type Kernel struct {
	Launcher string `json:"launcher"`          // UML or QEMU
	Path     string `json:"path"`              // linux.uml, vmlinux, bzImage or Image
	Modules  string `json:"modules,omitempty"` // like /lib/modules/RELEASE; empty: everything is built in
	Release  string `json:"release"`           // as uname -r
	Origin   string `json:"origin"`            // "cache", "installed", "built" or "path"
	Unfit    string `json:"unfit,omitempty"`   // why it can't be used; empty when it can
}

// String names the kernel for a person.
func (k Kernel) String() string {
	return fmt.Sprintf("%s %s (%s, %s)", k.Launcher, k.Release, k.Origin, k.Path)
}

// CacheDir is where ipvslab keeps what it can fetch or compute again:
// $XDG_CACHE_HOME/ipvslab, by default ~/.cache/ipvslab.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w; set XDG_CACHE_HOME or HOME", err)
	}
	return filepath.Join(dir, "ipvslab"), nil
}

// kernelsDir holds one directory per fetched package; names that begin with a
// dot are not finished.
func kernelsDir(cache string) string { return filepath.Join(cache, "kernels") }

// builtDir holds one directory per kernel built here, with linux.uml and the
// configuration that it was built with; ci/kernel/build.sh.
func builtDir(cache string) string { return filepath.Join(cache, "built") }

// Usable are the kernels of ks that can be used.
func Usable(ks []Kernel) []Kernel {
	return slices.DeleteFunc(slices.Clone(ks), func(k Kernel) bool { return k.Unfit != "" })
}

// UMLPossible says whether user-mode Linux exists for this architecture.
func UMLPossible() bool { return runtime.GOARCH == "amd64" }
