package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// Want says what to look for. The zero value finds every kernel.
type Want struct {
	Launcher string // UML or QEMU; empty: both
	Path     string // a kernel of the user's own: then only this one
	Cache    string // empty: CacheDir
	Root     string // where the installed system is; empty: "/"
}

// ModulesEnv names the environment variable with the modules directory of a
// kernel given by path, where it does not lie beside the kernel.
const ModulesEnv = "IPVSLAB_KERNEL_MODULES"

// Find lists the kernels at hand, the ones to prefer first: what was fetched
// before what is installed and before what was built here, the newer before
// the older, and last those that are unfit, with the reason. None is no error,
// except that a path that was given must hold a kernel.
func Find(ctx context.Context, w Want) ([]Kernel, error) {
	if w.Path != "" {
		k, err := atPath(w)
		if err != nil {
			return nil, err
		}
		return []Kernel{k}, nil
	}
	if w.Cache == "" {
		var err error
		if w.Cache, err = CacheDir(); err != nil {
			return nil, err
		}
	}
	var found []Kernel
	trees, err := filepath.Glob(filepath.Join(kernelsDir(w.Cache), "[^.]*"))
	if err != nil {
		return nil, fmt.Errorf("list fetched kernels: %w", err)
	}
	for _, tree := range trees {
		found = append(found, inTree(tree, "cache", w.Launcher)...)
	}
	slices.SortStableFunc(found, byPreference)
	installed := inTree(filepath.Join("/", w.Root), "installed", w.Launcher)
	slices.SortStableFunc(installed, byPreference)
	found = append(found, installed...)
	found = append(found, built(w)...)
	slices.SortStableFunc(found, func(a, b Kernel) int { return boolInt(a.Unfit != "") - boolInt(b.Unfit != "") })
	return found, ctx.Err()
}

// inTree are the kernels of an unpacked or installed system below root.
func inTree(root, origin, launcher string) []Kernel {
	var out []Kernel
	if launcher != QEMU && UMLPossible() {
		out = append(out, umlInTree(root, origin)...)
	}
	if launcher != UML {
		out = append(out, qemuInTree(root, origin)...)
	}
	return out
}

// umlInTree reads the release off the modules' directory where that is plain,
// which spares reading the image.
func umlInTree(root, origin string) []Kernel {
	path := filepath.Join(root, "usr/bin/linux.uml")
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	dirs, _ := filepath.Glob(filepath.Join(root, "usr/lib/uml/modules/*"))
	if len(dirs) == 1 {
		return []Kernel{{Launcher: UML, Path: path, Modules: dirs[0], Release: filepath.Base(dirs[0]), Origin: origin}}
	}
	k, err := identify(path)
	if err != nil {
		return []Kernel{{Launcher: UML, Path: path, Origin: origin, Unfit: err.Error()}}
	}
	k.Origin, k.Modules = origin, findModules(k, root)
	return []Kernel{k}
}

// built are the kernels that ci/kernel/build.sh made. They come last: building
// one for comparison must not change what every other command runs in.
func built(w Want) []Kernel {
	if w.Launcher == QEMU || !UMLPossible() {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(builtDir(w.Cache), "[^.]*/linux.uml"))
	var out []Kernel
	for _, path := range paths {
		k, err := identify(path)
		if err != nil {
			k = Kernel{Launcher: UML, Path: path, Unfit: err.Error()}
		}
		k.Origin = "built"
		out = append(out, k)
	}
	slices.SortStableFunc(out, byPreference)
	return out
}

func qemuInTree(root, origin string) []Kernel {
	images, _ := filepath.Glob(filepath.Join(root, "boot/vmlinu[xz]-*"))
	var out []Kernel
	for _, path := range images {
		_, release, _ := strings.Cut(filepath.Base(path), "-")
		k := Kernel{Launcher: QEMU, Path: path, Release: release, Origin: origin}
		for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
			if dir := filepath.Join(root, lib, release); isDir(dir) {
				k.Modules = dir
				break
			}
		}
		k.Unfit = unfit(k)
		out = append(out, k)
	}
	return out
}

// unfit says why QEMU can't use the installed kernel: not readable, as
// Ubuntu's are for users, or built without what reaches the host's files.
func unfit(k Kernel) string {
	f, err := os.Open(k.Path)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return "not readable for this user; let ipvslab fetch a copy (ipvslab kernel fetch)"
		}
		return err.Error()
	}
	f.Close()
	if k.Modules == "" {
		return "its modules are not installed"
	}
	if !has9P(k.Modules) {
		return "built without 9p over virtio, which gives the guest the host's files (as cloud kernels are)"
	}
	return ""
}

func has9P(modules string) bool {
	if found, _ := filepath.Glob(filepath.Join(modules, "kernel/net/9p/9pnet_virtio.ko*")); len(found) > 0 {
		return true
	}
	data, err := os.ReadFile(filepath.Join(modules, "modules.builtin"))
	return err == nil && strings.Contains(string(data), "/9pnet_virtio.ko")
}

// atPath is the user's own kernel; it is judged by its contents alone.
func atPath(w Want) (Kernel, error) {
	path, err := filepath.Abs(w.Path)
	if err != nil {
		return Kernel{}, fmt.Errorf("find kernel %s: %w", w.Path, err)
	}
	k, err := identify(path)
	if err != nil {
		return Kernel{}, fmt.Errorf("%w; give a linux.uml, a vmlinux or a bzImage, for arm64 an Image", err)
	}
	if w.Launcher != "" && k.Launcher != w.Launcher {
		return Kernel{}, fmt.Errorf("identify kernel %s: it is for %s, not for %s", path, k.Launcher, w.Launcher)
	}
	k.Origin, k.Modules = "path", findModules(k, w.Root)
	if dir := os.Getenv(ModulesEnv); dir != "" {
		if !isDir(dir) {
			return Kernel{}, fmt.Errorf("find modules of %s: %s is %q, which is no directory", path, ModulesEnv, dir)
		}
		if k.Modules, err = filepath.Abs(dir); err != nil {
			return Kernel{}, fmt.Errorf("find modules of %s: %w", path, err)
		}
	}
	return k, nil
}

// byPreference puts the newer release first. For QEMU, the general kernel comes
// before its special flavours (rt).
func byPreference(a, b Kernel) int {
	if d := boolInt(strings.Contains(a.Release, "-rt-")) - boolInt(strings.Contains(b.Release, "-rt-")); d != 0 {
		return d
	}
	return -compareReleases(a.Release, b.Release)
}

// compareReleases orders releases such as 6.1.0-9-amd64 and 6.1.0-10-amd64.
func compareReleases(a, b string) int {
	version := func(r string) (string, []string) {
		base, rest, _ := strings.Cut(r, "-")
		return "v" + base, strings.Split(rest, "-")
	}
	va, ra := version(a)
	vb, rb := version(b)
	if d := semver.Compare(va, vb); d != 0 {
		return d
	}
	return slices.CompareFunc(ra, rb, func(x, y string) int {
		if d := len(x) - len(y); d != 0 && isNumber(x) && isNumber(y) {
			return d
		}
		return strings.Compare(x, y)
	})
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
