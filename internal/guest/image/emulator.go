package image

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// QEMUBinary is an emulator on this machine and what it takes to start it.
type QEMUBinary struct {
	Path      string   `json:"path"`
	Libraries []string `json:"libraries,omitempty"` // for LD_LIBRARY_PATH; empty: the system's
	Data      []string `json:"data,omitempty"`      // for -L; empty: where it was built to look
	Origin    string   `json:"origin"`              // "cache" or "installed"
}

// ErrNoEmulator says that there is no QEMU for this machine's architecture.
var ErrNoEmulator = errors.New("QEMU is not installed, nor in the cache")

func emulatorsDir(cache string) string { return filepath.Join(cache, "qemu") }

// emulatorName is QEMU's name for this machine's architecture.
func emulatorName() string {
	if runtime.GOARCH == "arm64" {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// FindQEMU finds the emulator: the installed one, else the newest in the cache
// (empty: CacheDir). The error wraps ErrNoEmulator when there is none.
func FindQEMU(cache string) (QEMUBinary, error) {
	if path, err := exec.LookPath(emulatorName()); err == nil {
		return QEMUBinary{Path: path, Origin: "installed"}, nil
	}
	if cache == "" {
		var err error
		if cache, err = CacheDir(); err != nil {
			return QEMUBinary{}, err
		}
	}
	trees, err := filepath.Glob(filepath.Join(emulatorsDir(cache), "[^.]*"))
	if err != nil {
		return QEMUBinary{}, fmt.Errorf("list fetched emulators: %w", err)
	}
	slices.Reverse(trees)
	for _, tree := range trees {
		if q, ok := emulatorInTree(tree); ok {
			return q, nil
		}
	}
	return QEMUBinary{}, fmt.Errorf("find %s: %w", emulatorName(), ErrNoEmulator)
}

// emulatorInTree is the emulator in an unpacked set of packages.
func emulatorInTree(tree string) (QEMUBinary, bool) {
	q := QEMUBinary{Path: filepath.Join(tree, "usr/bin", emulatorName()), Origin: "cache"}
	if _, err := os.Stat(q.Path); err != nil {
		return QEMUBinary{}, false
	}
	for _, pattern := range []string{"lib/*-linux-gnu", "usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/*"} {
		dirs, _ := filepath.Glob(filepath.Join(tree, pattern))
		for _, d := range dirs {
			if libs, _ := filepath.Glob(filepath.Join(d, "*.so*")); len(libs) > 0 {
				q.Libraries = append(q.Libraries, d)
			}
		}
	}
	for _, d := range []string{"usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"} {
		if dir := filepath.Join(tree, d); isDir(dir) {
			q.Data = append(q.Data, dir)
		}
	}
	return q, true
}

// LibraryPath is the value for LD_LIBRARY_PATH.
func (q QEMUBinary) LibraryPath() string { return strings.Join(q.Libraries, ":") }
