// Package netns is the only place in ipvslab that enters a network namespace.
//
// Invariants: a goroutine that has been inside a namespace never goes on
// outside of [NS.Do] on a thread that is still inside; a thread that can't be
// brought back is never reused, it dies with its goroutine; names are files
// below /run/netns, as iproute2 knows them (ip-netns(8)), so that
// `ip netns exec` works on whatever this package made.
//
// The package knows nothing of labs, nodes or netlink and imports nothing of ours.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are bind-mounted (iproute2, include/namespace.h: NETNS_RUN_DIR).
const Dir = "/run/netns"

// The reasons for which a name can't be used, for errors.Is.
var (
	ErrExists   = errors.New("network namespace exists")
	ErrNotExist = errors.New("no such network namespace")
)

// ID identifies a namespace for as long as it lives: the device and inode of
// its file in nsfs (namespaces(7)). It is comparable.
type ID struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// NS is an open network namespace. The kernel keeps the namespace as long as
// it is open, whatever happens to its name. It may be used from any number of
// goroutines; Close it once.
type NS struct {
	fd   atomic.Int64 // closed below zero
	path string
	id   ID
}

// Path is the file of the namespace with that name.
func Path(name string) string { return filepath.Join(Dir, name) }

// Open opens a named namespace. It fails with ErrNotExist if there is no file
// of that name, or if the file is not a namespace (a half-made name).
func Open(name string) (*NS, error) {
	ns, err := OpenPath(Path(name))
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	return ns, nil
}

// OpenPath opens the namespace at a path such as /proc/1/ns/net. It is done
// very often, and in a guest each system call costs: hence no os.File, which makes
// more of them.
func OpenPath(path string) (*NS, error) {
	fd, err := openFile(path)
	if err != nil {
		return nil, err
	}
	n := &NS{path: path}
	n.fd.Store(int64(fd))
	if n.id, err = identify(fd, path); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func openFile(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, fmt.Errorf("%w: %s", ErrNotExist, path)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Current opens the namespace of the calling thread. The caller has to hold
// the thread (runtime.LockOSThread) for that to mean anything; outside of
// Do it is the process's own.
func Current() (*NS, error) { return OpenPath(current) }

// current is the calling thread's; /proc/self would name the main thread's.
const current = "/proc/thread-self/ns/net"

// nsfs is the device of the file system that namespaces' files are in; there is
// one of it (fs/nsfs.c). Zero until it was seen.
var nsfs atomic.Uint64

func identify(fd int, path string) (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return ID{}, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Dev != nsfs.Load() {
		var fsys unix.Statfs_t
		if err := unix.Fstatfs(fd, &fsys); err != nil {
			return ID{}, fmt.Errorf("stat file system of %s: %w", path, err)
		}
		if fsys.Type != unix.NSFS_MAGIC {
			return ID{}, fmt.Errorf("%w: %s is a plain file", ErrNotExist, path)
		}
		nsfs.Store(st.Dev)
	}
	return ID{Dev: st.Dev, Ino: st.Ino}, nil
}

// ID tells which namespace this is.
func (n *NS) ID() ID { return n.id }

// FD is the open file's descriptor, valid until Close; for IFLA_NET_NS_FD.
func (n *NS) FD() int { return int(n.fd.Load()) }

// Close lets go of the namespace. It fails with [os.ErrClosed] when called again.
func (n *NS) Close() error {
	fd := n.fd.Swap(-1)
	if fd < 0 {
		return fmt.Errorf("close network namespace %s: %w", n.path, os.ErrClosed)
	}
	return unix.Close(int(fd))
}

// Do runs fn inside the namespace and returns fn's error.
//
// fn runs on a goroutine of its own that holds its thread; Do waits for it. A
// goroutine started by fn is not in the namespace, so whatever has to be inside
// must stay on fn's own. Sockets and files opened inside belong to the
// namespace and may be used from anywhere afterwards. Calls nest.
//
// A thread that can't be brought back ends with fn's goroutine and Do fails:
// nothing ever runs on it again.
func (n *NS) Do(fn func() error) error {
	result := make(chan error, 1)
	go n.run(fn, result)
	err, ok := <-result
	if !ok {
		return fmt.Errorf("run in network namespace %s: the function left by runtime.Goexit (a test's FailNow?)", n.path)
	}
	return err
}

// run is the goroutine of Do. It sends exactly one result, or closes the
// channel if fn ends the goroutine.
func (n *NS) run(fn func() error, result chan<- error) {
	defer close(result)
	runtime.LockOSThread()
	home, err := openFile(current)
	if err != nil {
		runtime.UnlockOSThread() // has gone nowhere
		result <- fmt.Errorf("open the thread's own network namespace: %w", err)
		return
	}
	defer unix.Close(home)
	if err := netns.Set(netns.NsHandle(n.FD())); err != nil {
		runtime.UnlockOSThread() // has gone nowhere
		result <- fmt.Errorf("enter network namespace %s: %w", n.path, err)
		return
	}
	err = fn()
	if back := netns.Set(netns.NsHandle(home)); back != nil {
		// Still locked: the thread ends here.
		result <- errors.Join(err, fmt.Errorf("leave network namespace %s: %w", n.path, back))
		return
	}
	runtime.UnlockOSThread()
	result <- err
}

// Start starts cmd inside the namespace: it is there from its birth, so
// whoever looks for the namespace's processes finds it at any time.
func (n *NS) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Do runs fn inside the namespace of that name; see [NS.Do].
func Do(name string, fn func() error) error {
	ns, err := Open(name)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(fn)
}

// Enter moves the calling thread into the namespace of that name for good. It
// is for a process that is about to become another program (execve(2)) and
// must hold its thread (runtime.LockOSThread).
func Enter(name string) error {
	ns, err := Open(name)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := netns.Set(netns.NsHandle(ns.FD())); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return nil
}
