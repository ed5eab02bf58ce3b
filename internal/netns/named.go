package netns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Create makes a named namespace; see [CreateAll].
func Create(name string) error { return CreateAll([]string{name}, nil) }

// CreateAll makes named namespaces, [Workers] at a time, and
// runs inside, unless it is nil, in each as soon as it is there: the i-th name's
// on a thread that is in the i-th namespace, under the rules of [NS.Do].
//
// It fails with ErrExists if one of the names is taken, and with the kernel's or
// inside's reason otherwise; then it starts no more, and the names that were
// made stay, for the caller to delete.
func CreateAll(names []string, inside func(i int) error) error {
	if err := prepareDir(); err != nil {
		return err
	}
	var next atomic.Int64 // the first name that nobody works on
	var group errgroup.Group
	for range min(Workers(), len(names)) {
		group.Go(func() error {
			err := createOn(names, inside, &next)
			if err != nil {
				next.Store(int64(len(names)))
			}
			return err
		})
	}
	return group.Wait()
}

// Workers is how many namespaces CreateAll makes at a time. Most of the work is
// done under one lock of the kernel's (the RTNL mutex), so more CPUs don't help.
func Workers() int { return min(runtime.NumCPU(), 4) }

// createOn makes namespaces as long as there are names, all from one thread,
// which returns to its own namespace only at the end.
func createOn(names []string, inside func(int) error, next *atomic.Int64) error {
	runtime.LockOSThread()
	home, err := Current()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's own network namespace: %w", err)
	}
	defer home.Close()
	for err == nil {
		i := int(next.Add(1) - 1)
		if i >= len(names) {
			break
		}
		if err = create(names[i]); err != nil {
			err = fmt.Errorf("create network namespace %s: %w", names[i], err)
		} else if inside != nil {
			err = inside(i)
		}
	}
	if back := netns.Set(netns.NsHandle(home.FD())); back != nil {
		// The thread stays locked and ends with this goroutine.
		return errors.Join(err, fmt.Errorf("leave a new network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// create moves the calling thread into a new namespace and gives it a name.
func create(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	path := Path(name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s", ErrExists, path)
	}
	if err != nil {
		return err
	}
	f.Close() // opened for reading, nothing to lose
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return errors.Join(fmt.Errorf("unshare: %w", err), os.Remove(path))
	}
	// Not /proc/self: that is the main thread's.
	if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("bind mount on %s: %w", path, err), os.Remove(path))
	}
	return nil
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || filepath.Base(name) != name || len(name) > unix.NAME_MAX {
		return fmt.Errorf("%q can't be the name of a file", name)
	}
	return nil
}

// Delete removes a name. The namespace itself ends when the last process,
// socket or open file in it is gone. It also removes the plain file that a
// half-made namespace leaves; a name that isn't there is ErrNotExist.
func Delete(name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("delete network namespace: %w", err)
	}
	path := Path(name)
	// EINVAL: not a mount point. More than one mount may lie on a name.
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	for err == nil {
		err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete network namespace: %w: %s", ErrNotExist, path)
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete network namespace: %w", err)
	}
	return nil
}

// List names the namespaces of this machine, in alphabetical order, half-made ones too.
func List() ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// prepareDir makes Dir a shared mount of its own, much as `ip netns add` does
// (iproute2, ip/ipnetns.c: netns_add), so that unmounting a name is seen in
// every mount namespace that has a copy of it. Two processes may race here.
func prepareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return fmt.Errorf("create %s: %w", Dir, err)
	}
	f, err := os.Open(Dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", Dir, err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", Dir, err)
	}
	err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("share mount %s: %w", Dir, err)
	}
	// Not a mount point yet. A tmpfs is quicker than whatever /run is on, but
	// must not hide names that are there.
	if entries, err := f.ReadDir(1); len(entries) == 0 && errors.Is(err, io.EOF) {
		err = unix.Mount("tmpfs", Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755")
		if err != nil {
			return fmt.Errorf("mount tmpfs on %s: %w", Dir, err)
		}
	} else if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind mount %s on itself: %w", Dir, err)
	}
	if err := unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mount %s: %w", Dir, err)
	}
	return nil
}
