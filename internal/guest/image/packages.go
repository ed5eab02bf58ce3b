package image

import (
	"context"
	"runtime"
	"slices"
	"strings"
)

// Package is something that Fetch can get: a kernel, or the emulator.
type Package struct {
	Name     string // as apt knows it
	Launcher string // what it is for
}

// Packages are what a launcher needs from the package manager and does not
// have: its usual kernel, and for QEMU the emulator.
func Packages(launcher string) []Package {
	if launcher == UML {
		return []Package{{Name: "user-mode-linux", Launcher: UML}}
	}
	kernel := "linux-image-" + runtime.GOARCH // Debian's name of its newest; resolve knows Ubuntu's
	return []Package{{Name: kernel, Launcher: QEMU}, Emulator()}
}

// Emulator is the package with the QEMU for this machine's architecture.
func Emulator() Package {
	name := "qemu-system-x86"
	if runtime.GOARCH == "arm64" {
		name = "qemu-system-arm"
	}
	return Package{Name: name, Launcher: QEMU}
}

// isEmulator tells the emulator, a program with its libraries, from a kernel.
func (p Package) isEmulator() bool { return strings.HasPrefix(p.Name, "qemu-system-") }

// resolve finds the packages that together hold what p asks for. It is nil
// when apt's lists do not have p.
func (a apt) resolve(ctx context.Context, p Package) ([]record, error) {
	if p.isEmulator() {
		return a.resolveEmulator(ctx, p)
	}
	r, ok, err := a.show(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	if !ok && p.Name == "linux-image-"+runtime.GOARCH {
		r, ok, err = a.show(ctx, "linux-image-generic") // Ubuntu
	}
	if err != nil || !ok {
		return nil, err
	}
	// The name may be that of an empty package that depends on the newest kernel.
	if i := slices.IndexFunc(r.depends, versionedKernel); p.Launcher == QEMU && i >= 0 {
		if r, ok, err = a.show(ctx, r.depends[i]); err != nil || !ok {
			return nil, err
		}
	}
	return a.withModules(ctx, r)
}

// versionedKernel recognises linux-image-6.1.0-56-amd64 and Ubuntu's
// linux-image-6.8.0-31-generic and linux-image-unsigned-...
func versionedKernel(name string) bool {
	release, ok := strings.CutPrefix(strings.Replace(name, "-unsigned-", "-", 1), "linux-image-")
	return ok && release != "" && release[0] >= '0' && release[0] <= '9'
}

// withModules adds the packages into which Ubuntu puts a kernel's modules.
// Debian's have none: their modules are in the kernel's package.
func (a apt) withModules(ctx context.Context, r record) ([]record, error) {
	records := []record{r}
	release, ok := strings.CutPrefix(strings.Replace(r.name, "-unsigned-", "-", 1), "linux-image-")
	if !ok || !slices.Contains(r.depends, "linux-modules-"+release) {
		return records, nil
	}
	for _, kind := range []string{"linux-modules-", "linux-modules-extra-"} {
		m, ok, err := a.show(ctx, kind+release)
		if err != nil {
			return nil, err
		}
		if ok {
			records = append(records, m)
		}
	}
	return records, nil
}

// resolveEmulator adds every library, but not the C library: it must be the
// system's, like the program loader that goes with it.
func (a apt) resolveEmulator(ctx context.Context, p Package) ([]record, error) {
	first, ok, err := a.show(ctx, p.Name)
	if err != nil || !ok {
		return nil, err
	}
	all, err := a.closure(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	records := []record{first}
	for _, r := range all {
		if r.name != p.Name && r.name != "libc6" {
			records = append(records, r)
		}
	}
	return records, nil
}
