package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeReadOnly makes a detached tree read-only, nosuid, nodev and private.
func makeReadOnly(fd int) error {
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		Propagation: unix.MS_PRIVATE,
	})
	if err != nil {
		return fmt.Errorf("make tree read-only: %w", err)
	}
	return nil
}

// mountPoints lists where something is mounted in this mount namespace.
func mountPoints() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) > 4 {
			points = append(points, unescapeMount(fields[4]))
		}
	}
	return points, nil
}

// unescapeMount undoes mountinfo's octal escapes (proc_pid_mountinfo(5)).
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mappingNamespace makes a user namespace that maps uid and gid to [Nobody],
// for the ids of a mount. It lives as long as the file is open.
func mappingNamespace(uid, gid int) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	c := make(chan result)
	go func() {
		runtime.LockOSThread() // ptrace goes by thread; the thread ends with the goroutine
		f, err := traceNamespace(uid, gid)
		c <- result{f, err}
	}()
	r := <-c
	return r.f, r.err
}

// traceNamespace starts a process in a new user namespace, which ptrace stops
// before its first instruction, opens the namespace and kills the process.
func traceNamespace(uid, gid int) (*os.File, error) {
	p, err := os.StartProcess("/proc/self/exe", []string{"ipvslab"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: Nobody, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: Nobody, Size: 1}},
		Ptrace:      true,
		Pdeathsig:   syscall.SIGKILL,
	}})
	if err != nil {
		return nil, fmt.Errorf("create user namespace: %w", err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
	killed := p.Kill()
	_, waited := p.Wait()
	return f, errors.Join(err, killed, waited)
}

// inRun tells whether path lies in /run (or /var/run, which leads there).
func inRun(path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path == "/run" || strings.HasPrefix(path, "/run/")
}
