// Package modules finds out which kernel modules a guest loads, and in which
// order, and loads them.
//
// [Make] runs on the host. It takes the order from each module's own .modinfo
// section (Debian ships no modules.dep), decompresses what is compressed, and
// keeps the result in a cache, so that a boot reads one small file. [Load]
// runs in the guest: it only hands files to the kernel.
//
// The package knows no launcher and must import nothing of the lab.
package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir is a directory of modules of one kernel, as in /lib/modules/RELEASE.
type Dir struct {
	path    string
	files   map[string]string // module name to path
	builtin map[string]bool
	info    map[string]modinfo // of the modules looked at so far
}

// Open lists the modules under path. It reads names only, no module.
func Open(path string) (*Dir, error) {
	d := &Dir{path: path, files: map[string]string{}, builtin: map[string]bool{}, info: map[string]modinfo{}}
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleName(p); ok && !e.IsDir() {
			d.files[name] = p
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list modules in %s: %w", path, err)
	}
	if err := d.readBuiltin(); err != nil {
		return nil, err
	}
	if len(d.files) == 0 && len(d.builtin) == 0 {
		return nil, fmt.Errorf("list modules in %s: there are none; it should be like /lib/modules/RELEASE", path)
	}
	return d, nil
}

// readBuiltin reads modules.builtin, the paths of the modules that were
// compiled into the kernel. A directory without it is taken to have none.
func (d *Dir) readBuiltin() error {
	data, err := os.ReadFile(filepath.Join(d.path, "modules.builtin"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read built-in modules: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			d.builtin[name] = true
		}
	}
	return nil
}

// Len is the number of loadable modules.
func (d *Dir) Len() int { return len(d.files) }

// suffixes are how module files end. The compressed ones are those that the
// kernel's build can make (CONFIG_MODULE_COMPRESS).
var suffixes = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

// moduleName is the name by which the kernel knows the module in the file.
func moduleName(path string) (string, bool) {
	base := filepath.Base(path)
	for _, s := range suffixes {
		if name, ok := strings.CutSuffix(base, s); ok {
			return canonical(name), true
		}
	}
	return "", false
}

// canonical makes - and _ one, as modprobe(8) does.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Order is the files to load for the named modules, each after those that it
// depends on. Modules that are built in need no file. Names that are neither
// built in nor in the directory are missing, which is no error: kernels
// differ, and the probe in the guest has the last word.
func (d *Dir) Order(names ...string) (files, missing []string, err error) {
	o := order{dir: d, state: map[string]visit{}}
	for _, n := range names {
		found, err := o.add(canonical(n))
		if err != nil {
			return nil, nil, err
		}
		if !found {
			missing = append(missing, n)
		}
	}
	return o.files, missing, nil
}

type visit int

const (
	unseen visit = iota
	underway
	added
	absent
)

type order struct {
	dir   *Dir
	files []string
	state map[string]visit
}

// add puts the module behind all that it needs. It is false when the module,
// or one that it can't do without, is not there.
func (o *order) add(name string) (bool, error) {
	switch o.state[name] {
	case added, underway: // underway: a loop of soft dependencies
		return true, nil
	case absent:
		return false, nil
	}
	if o.dir.builtin[name] {
		o.state[name] = added
		return true, nil
	}
	file, ok := o.dir.files[name]
	if !ok {
		o.state[name] = absent
		return false, nil
	}
	o.state[name] = underway
	info, err := o.dir.read(name, file)
	if err != nil {
		return false, err
	}
	for _, dep := range info.soft {
		if _, err := o.add(dep); err != nil {
			return false, err
		}
	}
	for _, dep := range info.depends {
		found, err := o.add(dep)
		if err != nil {
			return false, err
		}
		if !found {
			o.state[name] = absent
			return false, nil
		}
	}
	o.state[name] = added
	o.files = append(o.files, file)
	return true, nil
}

func (d *Dir) read(name, file string) (modinfo, error) {
	if info, ok := d.info[name]; ok {
		return info, nil
	}
	info, err := readModinfo(file)
	if err != nil {
		return modinfo{}, err
	}
	d.info[name] = info
	return info, nil
}
