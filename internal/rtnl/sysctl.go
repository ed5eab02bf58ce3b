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

// Settings makes kernel settings. The zero value is ready and works through
// /proc; it is for one goroutine at a time.
//
// /proc keeps an entry of the same name, net/ipv4, for every namespace whose
// settings were looked at, and searches through all of them (fs/proc/proc_sysctl.c:
// proc_sys_compare). For hundreds of namespaces a Settings from NewSettings,
// which has procfs instances of its own, is three times as fast.
type Settings struct {
	private bool
	root    int // a detached mount of procfs; zero: none
	uses    int
}

// usesPerInstance balances searching in an instance against making a new one.
const usesPerInstance = 128

// NewSettings makes a Settings for many namespaces; Close it.
func NewSettings() *Settings { return &Settings{private: true} }

// Close closes it. It can't lose anything.
func (t *Settings) Close() {
	if t.root != 0 {
		unix.Close(t.root)
		t.root = 0
	}
}

// base opens the directory net/FAMILY of the calling thread's namespace.
func (t *Settings) base(family string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	if t.private && (t.root == 0 || t.uses >= usesPerInstance) {
		t.Close()
		t.uses = 0
		// A container may forbid it; then /proc must do.
		if root, err := mountProc(); err == nil {
			t.root = root
		} else {
			t.private = false
		}
	}
	t.uses++
	if t.root != 0 {
		return unix.Openat(t.root, "sys/net/"+family, flags, 0)
	}
	return unix.Open("/proc/sys/net/"+family, flags, 0)
}

// mountProc makes an instance of procfs that is mounted nowhere.
func mountProc() (int, error) {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return 0, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

// Set makes settings in the namespace of the calling thread, in order, and
// reads each back. White space counts as one blank. It stops at the first
// failure: *Difference, ErrNotNamespaced, ErrNoSysctl or the kernel's.
func (t *Settings) Set(settings ...Sysctl) error {
	bases := map[string]int{} // by family
	defer func() {
		for _, fd := range bases {
			unix.Close(fd)
		}
	}()
	for _, s := range settings {
		path, err := s.path()
		if err != nil {
			return err
		}
		family, rest, _ := strings.Cut(strings.TrimPrefix(path, "net/"), "/")
		base, ok := bases[family]
		if !ok {
			if base, err = t.base(family); err == nil {
				bases[family] = base
			}
		}
		if err == nil {
			err = s.set(base, rest)
		}
		if err := s.judge(err); err != nil {
			return err
		}
	}
	return nil
}

// judge says what a failure to set means.
func (s Sysctl) judge(err error) error {
	var d *Difference
	switch {
	case err == nil || s.Optional && errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &d):
		return err
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w (a module that isn't loaded, or an interface that isn't there)", ErrNoSysctl)
	}
	return fmt.Errorf("set sysctl %s to %q: %w", s.Key, s.Value, err)
}

// set makes the file at that path below a directory say the value, and reads it
// back. What says so already is not written: some settings take the lock that
// all of the kernel's network configuration waits for.
func (s Sysctl) set(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	wanted := fold(s.Value)
	if got, err := readSetting(fd); err != nil || got == wanted {
		return err
	}
	if _, err := unix.Pwrite(fd, []byte(s.Value), 0); err != nil {
		return err
	}
	got, err := readSetting(fd)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if !s.Agrees(got) {
		return &Difference{Key: s.Key, Wanted: s.Value, Got: got}
	}
	return nil
}

// Agrees tells whether what a setting reads is what was wanted. White space
// counts as one blank. In IPVS's defences the kernel itself turns 1 into 2 while
// memory is short, and back (ip_vs_ctl.c, update_defense_level).
func (s Sysctl) Agrees(got string) bool {
	wanted, got := fold(s.Value), fold(got)
	if wanted == got {
		return true
	}
	switch s.Key {
	case "net.ipv4.vs.drop_entry", "net.ipv4.vs.drop_packet", "net.ipv4.vs.secure_tcp":
		automatic := func(v string) bool { return v == "1" || v == "2" }
		return automatic(wanted) && automatic(got)
	}
	return false
}

func readSetting(fd int) (string, error) {
	var buf [4096]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return "", err
	}
	return fold(string(buf[:n])), nil
}

// ReadSysctl reads a setting in the namespace of the calling thread.
func ReadSysctl(key string) (string, error) {
	path, err := Sysctl{Key: key}.path()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile("/proc/sys/" + path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("sysctl %s: %w", key, ErrNoSysctl)
	}
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", key, err)
	}
	return fold(string(data)), nil
}

// path is the file's below /proc/sys.
func (s Sysctl) path() (string, error) {
	swap := strings.NewReplacer(".", "/", "/", ".")
	path := swap.Replace(s.Key)
	if !strings.HasPrefix(path, "net/") || filepath.Clean(path) != path || strings.Count(path, "/") < 2 {
		return "", fmt.Errorf("sysctl %s: %w", s.Key, ErrNotNamespaced)
	}
	return path, nil
}

func fold(s string) string { return strings.Join(strings.Fields(s), " ") }
