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
	file *os.File
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

// OpenPath opens the namespace at a path such as /proc/1/ns/net.
func OpenPath(path string) (*NS, error) {
	// Not os.Open: it makes four more system calls to find out that nobody can poll it.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotExist, path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	ns, err := fromFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return ns, nil
}

// Current opens the namespace of the calling thread. The caller has to hold
// the thread (runtime.LockOSThread) for that to mean anything; outside of
// Do it is the process's own.
func Current() (*NS, error) {
	// /proc/self would name the main thread's namespace.
	return OpenPath("/proc/thread-self/ns/net")
}

func fromFile(f *os.File) (*NS, error) {
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fsys); err != nil {
		return nil, fmt.Errorf("stat file system of %s: %w", f.Name(), err)
	}
	if fsys.Type != unix.NSFS_MAGIC && fsys.Type != unix.PROC_SUPER_MAGIC {
		return nil, fmt.Errorf("%w: %s is a plain file", ErrNotExist, f.Name())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return &NS{file: f, id: ID{Dev: st.Dev, Ino: st.Ino}}, nil
}

// ID tells which namespace this is.
func (n *NS) ID() ID { return n.id }

// FD is the open file's descriptor, valid until Close; for IFLA_NET_NS_FD.
func (n *NS) FD() int { return int(n.file.Fd()) }

// Close lets go of the namespace.
func (n *NS) Close() error { return n.file.Close() }

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
		return fmt.Errorf("run in network namespace %s: the function left by runtime.Goexit (a test's FailNow?)", n.file.Name())
	}
	return err
}

// run is the goroutine of Do. It sends exactly one result, or closes the
// channel if fn ends the goroutine.
func (n *NS) run(fn func() error, result chan<- error) {
	defer close(result)
	runtime.LockOSThread()
	home, err := Current()
	if err != nil {
		runtime.UnlockOSThread() // has gone nowhere
		result <- fmt.Errorf("open the thread's own network namespace: %w", err)
		return
	}
	defer home.Close()
	if err := netns.Set(netns.NsHandle(n.FD())); err != nil {
		runtime.UnlockOSThread() // has gone nowhere
		result <- fmt.Errorf("enter network namespace %s: %w", n.file.Name(), err)
		return
	}
	err = fn()
	if back := netns.Set(netns.NsHandle(home.FD())); back != nil {
		// Still locked: the thread ends here.
		result <- errors.Join(err, fmt.Errorf("leave network namespace %s: %w", n.file.Name(), back))
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
