package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// privateDir is the private directory where the sandbox has a tree of its own.
const privateDir = "/dev/shm"

// builder makes the new root. Its working directory is that root; "/" is still
// the old one, so relative paths are new and absolute paths are old.
type builder struct {
	request
	tree   int
	mounts []int // of the host's root: pairs of mount and place, in the order of Writable
}

// buildTree makes the program's file tree and makes it this process's root.
func buildTree(r request, fds []int) (notes []string, err error) {
	b := &builder{request: r}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if r.Tree {
		b.tree, b.mounts = fds[0], fds[1:]
	} else if b.tree, err = ownTree(); err != nil {
		return nil, err
	}
	for _, dir := range r.Writable {
		if slices.Contains([]string{"/", "/dev", "/proc", "/sys", "/run"}, dir) {
			return nil, fmt.Errorf("make %s writable: not a directory to be given away whole", dir)
		}
	}
	writable, missing := b.openWritable()
	// Where it is mounted before it becomes the root is of no matter; /proc is everywhere.
	if err := unix.MoveMount(b.tree, "", unix.AT_FDCWD, "/proc", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("attach tree: %w", err)
	}
	if err := unix.Fchdir(b.tree); err != nil {
		return nil, fmt.Errorf("enter tree: %w", err)
	}
	for _, step := range []func() error{b.mountDev, b.mountProc, b.mountRun} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	notes = slices.Concat(missing, b.attachWritable(writable))
	return notes, enterRoot()
}

// ownTree clones the tree of an ordinary user's namespace, read-only.
func ownTree() (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("clone mount tree: %w", err)
	}
	return fd, makeReadOnly(fd)
}

// opening is a detached writable mount with the place where it goes; a
// place in /run is made later.
type opening struct {
	dir          string
	mount, place int
}

func (b *builder) openWritable() (openings []opening, notes []string) {
	for i, dir := range b.Writable {
		if b.Tree {
			if b.Mounts[i] {
				openings = append(openings, opening{dir, b.mounts[0], b.mounts[1]})
				b.mounts = b.mounts[2:]
			}
			continue
		}
		o, err := b.openOwn(dir)
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s is not writable in the guest: %v", dir, err))
			continue
		}
		openings = append(openings, o)
	}
	slices.SortStableFunc(openings, func(a, b opening) int { return len(a.dir) - len(b.dir) })
	return openings, notes
}

func (b *builder) openOwn(dir string) (opening, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return opening{}, fmt.Errorf("clone mount: %w", err)
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE,
	})
	if err != nil {
		return opening{}, fmt.Errorf("restrict mount: %w", err)
	}
	place, err := unix.Openat(b.tree, strings.TrimPrefix(dir, "/"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return opening{}, fmt.Errorf("find its place: %w", err)
	}
	return opening{dir, fd, place}, nil
}

// attachWritable puts the openings in their places. A place below another
// opening, or in the new /run, was hidden by that and is looked up again.
func (b *builder) attachWritable(openings []opening) (notes []string) {
	for i, o := range openings {
		place := o.place
		covered := inRun(o.dir) || slices.ContainsFunc(openings[:i], func(p opening) bool {
			return strings.HasPrefix(o.dir, p.dir+"/")
		})
		if covered {
			fd, err := unix.Open(strings.TrimPrefix(o.dir, "/"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				notes = append(notes, fmt.Sprintf("%s is not writable in the guest: find its place: %v", o.dir, err))
				continue
			}
			place = fd
		}
		err := unix.MoveMount(o.mount, "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s is not writable in the guest: attach mount: %v", o.dir, err))
		}
	}
	return notes
}

// mountDev mounts a small tmpfs with the few devices, and the private directory in it.
func (b *builder) mountDev() error {
	// The devices below are mounts of the host's own: the tmpfs itself needs none.
	options := fmt.Sprintf("mode=0755,size=%d", b.PrivateSize)
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	// A guest's memory is a file here: taken 2 MiB at a time it is there sooner, and sooner gone.
	err := unix.Mount("ipvslab", "dev", "tmpfs", flags, options+",huge=within_size")
	if errors.Is(err, unix.EINVAL) { // a kernel without transparent huge pages
		err = unix.Mount("ipvslab", "dev", "tmpfs", flags, options)
	}
	if err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	if err := os.Mkdir("dev/shm", 0o700); err != nil {
		return fmt.Errorf("make private directory: %w", err)
	}
	devices := append([]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}, b.Devices...)
	for _, device := range devices {
		if err := bindFile(device); err != nil {
			return fmt.Errorf("show %s: %w", device, err)
		}
	}
	if err := os.Symlink("/proc/self/fd", "dev/fd"); err != nil {
		return fmt.Errorf("fill /dev: %w", err)
	}
	return nil
}

// bindFile mounts a device file of the old tree at the same path of the new one.
func bindFile(path string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	rel := strings.TrimPrefix(path, "/")
	if err := os.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(rel, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return unix.MoveMount(fd, "", unix.AT_FDCWD, rel, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// mountProc shows the processes of the sandbox only. A container that hides
// parts of its /proc does not let a new one be mounted: then there is none.
func (b *builder) mountProc() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	err := unix.Mount("proc", "proc", "proc", flags, "")
	if errors.Is(err, unix.EPERM) {
		err = unix.Mount("ipvslab", "proc", "tmpfs", flags, "mode=0755,size=4k")
	}
	if err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// mountRun hides the host's /run, with the sockets of its services, but for the paths that are needed.
func (b *builder) mountRun() error {
	if _, err := os.Stat("run"); err != nil {
		return nil // no /run: no sockets there
	}
	var shown []opening
	for _, path := range append(slices.Clone(b.Needed), b.Writable...) {
		if inRun(path) {
			o, err := readOnlyCopy(path)
			if err != nil {
				return fmt.Errorf("show %s: %w", path, err)
			}
			shown = append(shown, o)
		}
	}
	if err := unix.Mount("ipvslab", "run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, o := range shown {
		if err := attachCopy(o); err != nil {
			return fmt.Errorf("show %s: %w", o.dir, err)
		}
	}
	if err := unix.Mount("", "run", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("make /run read-only: %w", err)
	}
	return nil
}

// readOnlyCopy clones what the new tree shows at path, read-only as it is.
func readOnlyCopy(path string) (opening, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return opening{}, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, strings.TrimPrefix(real, "/"),
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	return opening{dir: real, mount: fd}, err
}

func attachCopy(o opening) error {
	rel := strings.TrimPrefix(o.dir, "/")
	var st unix.Stat_t
	if err := unix.Fstat(o.mount, &st); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.Mkdir(rel, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	} else if err := os.WriteFile(rel, nil, 0o600); err != nil {
		return err
	}
	return unix.MoveMount(o.mount, "", unix.AT_FDCWD, rel, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// enterRoot makes the working directory the root and lets go of the old one.
func enterRoot() error {
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	// The old root now lies over the new one (pivot_root(2)).
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of old root: %w", err)
	}
	return os.Chdir("/")
}
