package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
	unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// startNamespaced starts the program in namespaces of its own. An error that
// wraps errRefused means that this host does not give them.
func startNamespaced(spec Spec, self *os.File) (*Process, error) {
	asRoot := isHostRoot()
	sys := &syscall.SysProcAttr{
		Cloneflags: namespaces,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if asRoot {
		uid, gid = Nobody, Nobody
		// Without it the process would stay the host's root, unmapped.
		sys.Credential = &syscall.Credential{Uid: 0, Gid: 0}
		sys.GidMappingsEnableSetgroups = true
	}
	sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}

	s, err := spawn(spec, self, StageMark, sys)
	if err != nil {
		return nil, asRefusal("create namespaces", err)
	}
	r, notes, err := configure(s, spec, asRoot)
	if err != nil {
		s.abandon()
		return nil, err
	}
	kill := func() { _ = unix.Kill(s.pid, unix.SIGKILL) } // it may have ended by itself
	return s.process(r.Mode, append(notes, r.Notes...), "", kill), nil
}

// configure tells the stage what to do and waits until it has done it.
func configure(s *spawned, spec Spec, asRoot bool) (reply, []string, error) {
	r := makeRequest(spec)
	var fds []int
	var notes []string
	if asRoot {
		t, err := treeForRoot(spec, s.pid)
		defer t.close()
		if err != nil {
			return reply{}, nil, asRefusal("make read-only tree", err)
		}
		r.Tree, r.Mounts = true, t.have
		fds, notes = t.fds(), t.notes
	}
	if err := sendRequest(s.control, r, fds); err != nil {
		return reply{}, nil, err
	}
	answer, err := receiveReply(s.control)
	return answer, notes, err
}

func makeRequest(spec Spec) request {
	self, err := os.Executable()
	if err != nil {
		self = ""
	}
	return request{
		Argv: spec.Argv, Env: spec.Env, Files: len(spec.Files),
		Writable: spec.Writable, Needed: append(spec.Needed, spec.Argv[0], self), Devices: spec.Devices,
		PrivateSize: spec.PrivateSize, Affinity: spec.Affinity, Self: self,
	}
}

// asRefusal classifies: the errors that a kernel or its policy answers when
// namespaces or the newer mount calls are not to be had.
func asRefusal(what string, err error) error {
	for _, refusal := range []error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOENT} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w: %s: %w", errRefused, what, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isHostRoot tells whether this process is root in the initial user namespace,
// that is, whether files it owns are root's on the host. Root of a user
// namespace is an ordinary user to the host (user_namespaces(7)).
func isHostRoot() bool {
	if os.Geteuid() != 0 {
		return false
	}
	m, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	return string(bytes.Join(bytes.Fields(m), []byte(" "))) == "0 0 4294967295"
}

// tree is what only the host's root can make: mounts in which the files of
// root (or, in a writable directory, of its owner) belong to the confined user.
type tree struct {
	root   int
	have   []bool
	mounts []int // pairs: the mount, its place
	notes  []string
}

func (t *tree) fds() []int { return append([]int{t.root}, t.mounts...) }

func (t *tree) close() {
	if t == nil {
		return
	}
	for _, fd := range t.fds() {
		unix.Close(fd)
	}
}

// treeForRoot makes the tree for the process pid, whose user namespace maps
// only [Nobody].
func treeForRoot(spec Spec, pid int) (*tree, error) {
	root, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return nil, fmt.Errorf("clone mount tree: %w", err)
	}
	t := &tree{root: root, have: make([]bool, len(spec.Writable))}
	if err := makeReadOnly(root); err != nil {
		return t, err
	}
	userns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return t, fmt.Errorf("open user namespace: %w", err)
	}
	defer userns.Close()
	mapTree(root, int(userns.Fd()))
	for i, dir := range spec.Writable {
		m, place, err := writableForRoot(root, dir, int(userns.Fd()))
		if err != nil {
			t.notes = append(t.notes, fmt.Sprintf("%s is not writable in the guest: %v", dir, err))
			continue
		}
		t.have[i] = true
		t.mounts = append(t.mounts, m, place)
	}
	return t, nil
}

// mapTree maps ids on every mount of the detached tree whose file system can;
// the others keep theirs, and the confined user reads there what anybody may.
func mapTree(root, userns int) {
	points, err := mountPoints()
	if err != nil {
		points = []string{"/"}
	}
	for _, p := range points {
		rel, err := filepath.Rel("/", p)
		if err != nil {
			continue
		}
		fd, err := unix.Openat(root, rel, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // hidden under another mount
		}
		_ = idmap(fd, userns)
		unix.Close(fd)
	}
}

func idmap(fd, userns int) error {
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns),
	})
}

// writableForRoot returns a writable mount of dir and its place in the tree.
func writableForRoot(root int, dir string, userns int) (mount, place int, err error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return -1, -1, err
	}
	if st.Uid != 0 {
		ns, err := mappingNamespace(int(st.Uid), int(st.Gid))
		if err != nil {
			return -1, -1, fmt.Errorf("map its owner %d: %w", st.Uid, err)
		}
		defer ns.Close()
		userns = int(ns.Fd())
	}
	mount, err = unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, -1, fmt.Errorf("clone mount: %w", err)
	}
	err = idmap(mount, userns)
	if err == nil {
		err = unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
			Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE,
		})
	}
	if err == nil {
		place, err = unix.Openat(root, strings.TrimPrefix(dir, "/"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		unix.Close(mount)
		return -1, -1, fmt.Errorf("its file system cannot map owners: %w", err)
	}
	return mount, place, nil
}
