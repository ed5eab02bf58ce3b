package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Hostname is the guest's name.
const Hostname = "ipvslab"

// mountKernel mounts what the kernel shows of itself. A kernel that mounts
// devtmpfs itself, or an init before us, is left alone.
func mountKernel() error {
	for _, m := range []struct{ dir, fs, probe string }{
		{"/proc", "proc", "/proc/self"},
		{"/sys", "sysfs", "/sys/kernel"},
		{"/dev", "devtmpfs", "/dev/ptmx"},
	} {
		if m.fs == "devtmpfs" && isMounted(m.dir, m.probe) {
			continue
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, unix.MS_NOSUID, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	// The kernel must not run the host's modprobe: it knows nothing of this
	// kernel and costs 0.1 s each time. Whoever needs a module loads it.
	if err := writeSetting("/proc/sys/kernel/modprobe", "\n"); err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without modules
		return err
	}
	// Nor the host's /sbin/hotplug for every module and device: each is a process.
	// Most kernels can't (CONFIG_UEVENT_HELPER).
	if err := writeSetting("/proc/sys/kernel/hotplug", "\n"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// isMounted tells whether a file system with the file probe is on dir, apart from the root's own.
func isMounted(dir, probe string) bool {
	var d, root unix.Stat_t
	if unix.Stat(dir, &d) != nil || unix.Stat("/", &root) != nil || d.Dev == root.Dev {
		return false
	}
	_, err := os.Stat(probe)
	return err == nil
}

// restrictRoot makes setuid programs of the host's tree ordinary ones. To a
// guest of an ordinary user their owner is unknown: root here would lose its
// rights by running them.
func restrictRoot() error {
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", "/", "", flags, ""); err != nil {
		return fmt.Errorf("remount / nosuid: %w", err)
	}
	return nil
}

func writeSetting(path, value string) error {
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("write kernel setting: %w", err)
	}
	return nil
}

// prepareBase does what needs neither the host's word nor a module.
func prepareBase() error {
	for _, step := range []func() error{mountRun, mountTerminals, makeNodes, loopbackUp, raiseLimits} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte(Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return nil
}

func mountRun() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range []string{"/run/ipvslab", "/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("fill /run: %w", err)
		}
	}
	return nil
}

func mountTerminals() error {
	for _, m := range []struct{ dir, fs, options string }{
		{"/dev/pts", "devpts", "mode=0620,ptmxmode=0666,gid=5"},
		{"/dev/shm", "tmpfs", "mode=1777"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return fmt.Errorf("fill /dev: %w", err)
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, unix.MS_NOSUID, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("fill /dev: %w", err)
		}
	}
	return nil
}

// makeNodes makes the devices whose modules the kernel loads when they are
// opened (kmod's static nodes).
func makeNodes() error {
	if err := os.MkdirAll("/dev/net", 0o755); err != nil {
		return fmt.Errorf("fill /dev: %w", err)
	}
	err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make /dev/net/tun: %w", err)
	}
	return nil
}

// loopbackUp brings lo up (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// raiseLimits allows a lab's agent its many sockets.
func raiseLimits() error {
	const files = 1 << 20 // fs.nr_open's default
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
		return fmt.Errorf("raise limit of open files: %w", err)
	}
	return nil
}

// mountTemporary makes /tmp a place where everything of the host's can be read
// and anything be created, for as long as the guest lives: an overlay, or, in a kernel
// without, an empty directory that hides the host's.
func mountTemporary() error {
	const upper = "/run/ipvslab/tmp"
	for _, dir := range []string{upper, upper + "/upper", upper + "/work"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("prepare /tmp: %w", err)
		}
	}
	options := "lowerdir=/tmp,upperdir=" + upper + "/upper,workdir=" + upper + "/work"
	err := unix.Mount("overlay", "/tmp", "overlay", unix.MS_NOSUID|unix.MS_NODEV, options)
	if errors.Is(err, unix.ENODEV) {
		err = unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
	}
	if err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	return os.Chmod("/tmp", 0o777|os.ModeSticky)
}

// mountPoint makes sure that a directory to mount on exists: one in /run is hidden by then.
func mountPoint(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	return nil
}

// mountModules shows this kernel's modules where modprobe(8) looks for them, in
// place of those of the host's kernels. Where there is no such place nobody looks.
func mountModules(dir string) error {
	const place = "/lib/modules"
	if info, err := os.Stat(place); dir == "" || err != nil || !info.IsDir() {
		return nil
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("mount modules: %w", err)
	}
	mine := place + "/" + unix.ByteSliceToString(name.Release[:])
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // it may lie below the place
	if err != nil {
		return fmt.Errorf("mount modules: open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	if err := unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount %s: %w", place, err)
	}
	if err := os.Mkdir(mine, 0o755); err != nil {
		return fmt.Errorf("mount modules: %w", err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), mine, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", mine, err)
	}
	return nil
}
