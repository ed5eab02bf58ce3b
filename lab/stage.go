package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/ipvslab/ipvslab/internal/netns"
	"golang.org/x/sys/unix"
)

// A command in a node is started in two stages: this program once more, which
// enters the node, and from there exec(2). So the command is the very process
// that the caller started, with its streams, terminal and signals.

// The names (argv[0]) under which this program is one of its own helpers.
const (
	stageName = "ipvslab-exec"
	agentName = "ipvslab-agent"
)

// reportFD is where a helper tells its parent why it failed.
const reportFD = 3

var (
	hooked   bool
	programs []string // see Hook
)

var errNotHooked = errors.New("this program doesn't call lab.Hook at the start of main (a test binary: of TestMain)")

// Hook turns this process into one of the package's helpers, and never
// returns, if it was started as such. Call it first thing in main. The names,
// if any, are programs that main plays when it is called by them, such as
// ipvsadm: they are in the PATH of directors that are commands, and where
// [Lab.ProgramDir] is put into the PATH.
func Hook(names ...string) {
	hooked, programs = true, names
	switch os.Args[0] {
	case stageName:
		runStage()
	case agentName:
		runAgent()
	case directorName:
		runEmbedded()
	}
}

// stageSpec is what the first stage is told.
type stageSpec struct {
	Node, Namespace, Hosts string
	Dir, Path              string
	Argv                   []string
	Report                 bool // failures to reportFD, else to standard error
}

// The statuses of a shell for a program that isn't there, or can't be run.
const (
	statusNotFound = 127
	statusCantRun  = 126
)

// runStage becomes the command. It stays on one thread: execve(2) continues
// with the namespaces of the thread that calls it.
func runStage() {
	runtime.LockOSThread()
	var spec stageSpec
	status, err := statusCantRun, json.Unmarshal([]byte(os.Args[1]), &spec)
	if err == nil {
		status, err = spec.become()
	}
	if spec.Report {
		// Should it fail, the parent sees the status.
		_, _ = os.NewFile(reportFD, "report").WriteString(err.Error())
	} else {
		fmt.Fprintf(os.Stderr, "ipvslab: exec in node %s: %v\n", spec.Node, err)
	}
	os.Exit(status)
}

// become returns only if it fails.
func (s *stageSpec) become() (status int, err error) {
	if s.Report {
		unix.CloseOnExec(reportFD)
	}
	if err := s.enter(); err != nil {
		return statusCantRun, err
	}
	if err := s.mount(); err != nil {
		return statusCantRun, err
	}
	if s.Dir != "" {
		if err := os.Chdir(s.Dir); err != nil {
			return statusCantRun, err
		}
	}
	path, err := s.Path, error(nil)
	if path == "" {
		path, err = exec.LookPath(s.Argv[0])
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return statusNotFound, fmt.Errorf("%s: command not found", s.Argv[0])
	}
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return statusCantRun, err
	}
	return statusCantRun, fmt.Errorf("execute %s: %w", path, syscall.Exec(path, s.Argv, os.Environ()))
}

// enter joins the node's namespace for good. The name is looked at again from
// within: had the lab been ended meanwhile, nobody would look for us here.
func (s *stageSpec) enter() error {
	if err := netns.Enter(s.Namespace); err != nil {
		return err
	}
	again, err := netns.Open(s.Namespace)
	if err != nil {
		return err
	}
	return again.Close()
}

// mount gives the command a mount namespace in which /sys shows the node's
// devices and the files of /etc are the node's, as `ip netns exec` does
// (iproute2, lib/namespace.c: netns_switch).
func (s *stageSpec) mount() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	// Slave, not private: what is unmounted outside must not live on in here.
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make / a slave mount: %w", err)
	}
	var flags uintptr
	var st unix.Statfs_t
	if err := unix.Statfs("/sys", &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
		flags = unix.MS_RDONLY
	}
	// It is not mounted in every container.
	_ = unix.Unmount("/sys", unix.MNT_DETACH)
	if err := unix.Mount(s.Namespace, "/sys", "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	for over, file := range map[string]string{"/etc/hosts": s.Hosts, "/etc/resolv.conf": resolvFile(s.Hosts)} {
		if err := bindOver(file, over); err != nil {
			return err
		}
	}
	own := filepath.Join("/etc/netns", s.Namespace)
	entries, err := os.ReadDir(own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", own, err)
	}
	for _, e := range entries {
		if err := bindOver(filepath.Join(own, e.Name()), filepath.Join("/etc", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// bindOver lays a file over another. Where there is none to lay it over (a
// container without /etc/hosts) there is nothing to hide either.
func bindOver(file, over string) error {
	err := unix.Mount(file, over, "none", unix.MS_BIND, "")
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("bind %s over %s: %w", file, over, err)
	}
	return nil
}
