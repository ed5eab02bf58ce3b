package rtnl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Sysctl is a kernel setting in sysctl(8)'s form: dots between the parts, and
// a slash for a dot inside of one (net.ipv4.conf.eth0/1.rp_filter).
type Sysctl struct {
	Key, Value string
	Optional   bool // passed over if the kernel hasn't got it
}

// Difference is a kernel setting that reads otherwise than it was written.
type Difference struct {
	Key, Wanted, Got string
}

func (d *Difference) Error() string {
	return fmt.Sprintf("sysctl %s reads %q after %q was written: the kernel bounds or ignores this value", d.Key, d.Got, d.Wanted)
}

// ErrNotNamespaced refuses settings that belong to the machine and not to a
// network namespace: writing them from a node would change the host.
var ErrNotNamespaced = errors.New("not a setting of a network namespace; only net.* may be set")

// ErrNoSysctl is a setting that this kernel, or this namespace, doesn't have.
var ErrNoSysctl = errors.New("no such kernel setting")

// Set writes a setting in the namespace of the calling thread and reads it
// back. White space counts as one blank. The errors are *Difference,
// ErrNotNamespaced, ErrNoSysctl and the kernel's.
func (s Sysctl) Set() error {
	path, err := s.path()
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if s.Optional {
			return nil
		}
		return fmt.Errorf("sysctl %s: %w (a module that isn't loaded, or an interface that isn't there)", s.Key, ErrNoSysctl)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("open sysctl %s: %w (read-only in a network namespace?)", s.Key, err)
	}
	if err != nil {
		return fmt.Errorf("open sysctl %s: %w", s.Key, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err := f.WriteAt([]byte(s.Value), 0); err != nil {
		return fmt.Errorf("write %q to sysctl %s: %w", s.Value, s.Key, errors.Unwrap(err))
	}
	var buf [4096]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return fmt.Errorf("read back sysctl %s: %w", s.Key, err)
	}
	if got := fold(string(buf[:n])); got != fold(s.Value) {
		return &Difference{Key: s.Key, Wanted: s.Value, Got: got}
	}
	return nil
}

// ReadSysctl reads a setting in the namespace of the calling thread.
func ReadSysctl(key string) (string, error) {
	path, err := Sysctl{Key: key}.path()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("sysctl %s: %w", key, ErrNoSysctl)
	}
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", key, err)
	}
	return fold(string(data)), nil
}

func (s Sysctl) path() (string, error) {
	swap := strings.NewReplacer(".", "/", "/", ".")
	path := swap.Replace(s.Key)
	if !strings.HasPrefix(path, "net/") || filepath.Clean(path) != path {
		return "", fmt.Errorf("sysctl %s: %w", s.Key, ErrNotNamespaced)
	}
	return "/proc/sys/" + path, nil
}

func fold(s string) string { return strings.Join(strings.Fields(s), " ") }
