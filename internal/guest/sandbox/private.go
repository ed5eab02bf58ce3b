package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const privatePrefix = "ipvslab-guest-"

// pickPrivate makes a private directory for uid on a file system that lets
// programs run from it and has size bytes free. Its name holds the pid and start time
// of this process, so that [Sweep] can tell what was left behind.
func pickPrivate(uid int, size int64) (string, error) {
	start, err := StartTime(os.Getpid())
	if err != nil {
		return "", err
	}
	var refusals []error
	for _, parent := range privateParents() {
		if err := suits(parent, size); err != nil {
			refusals = append(refusals, fmt.Errorf("%s: %w", parent, err))
			continue
		}
		dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-%d-", privatePrefix, os.Getpid(), start))
		if err != nil {
			refusals = append(refusals, err)
			continue
		}
		if err := os.Chown(dir, uid, -1); err != nil {
			err = fmt.Errorf("give a directory to the unprivileged user %d (a guest is never run as root): %w", uid, err)
			return "", errors.Join(err, os.Remove(dir))
		}
		return dir, nil
	}
	return "", fmt.Errorf("find a directory for the guest's memory: %w (set TMPDIR to a directory with %d MiB free, not mounted noexec)",
		errors.Join(refusals...), size>>20)
}

func privateParents() []string {
	parents := []string{"/dev/shm", "/tmp", "/var/tmp"}
	if t := os.Getenv("TMPDIR"); t != "" {
		parents = slices.Insert(parents, 1, t) // memory is faster than a disk, wherever that is
	}
	if c, err := os.UserCacheDir(); err == nil && os.Geteuid() != 0 {
		parents = append(parents, c)
	}
	return parents
}

func suits(dir string, size int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	switch free := int64(st.Bavail) * st.Bsize; {
	case st.Flags&unix.ST_RDONLY != 0:
		return errors.New("read-only")
	case st.Flags&unix.ST_NOEXEC != 0:
		return errors.New("mounted noexec")
	case free < size:
		return fmt.Errorf("only %d MiB free", free>>20)
	}
	return nil
}

// StartTime is the time a process was started, in clock ticks since boot
// (field 22 of proc_pid_stat(5)). With the pid it names a process for good.
func StartTime(pid int) (uint64, error) {
	_, start, err := processStat(pid)
	return start, err
}

// processStat reads a process's state and start time, fields 3 and 22.
func processStat(pid int) (state string, start uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, fmt.Errorf("read start time: %w", err)
	}
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", 0, fmt.Errorf("read start time of %d: cannot read %q", pid, b)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0], start, err
}

// Alive tells whether the process that had this pid and start time still runs.
// One that has ended does not, even if its parent never asks: in a container
// the process that should often does not.
func Alive(pid int, start uint64) bool {
	state, got, err := processStat(pid)
	return err == nil && got == start && state != "Z" && state != "X"
}

// Sweep removes private directories whose process is gone.
func Sweep() error {
	var errs []error
	for _, parent := range privateParents() {
		found, err := filepath.Glob(filepath.Join(parent, privatePrefix+"*"))
		errs = append(errs, err)
		for _, dir := range found {
			var pid int
			var start uint64
			_, err := fmt.Sscanf(strings.TrimPrefix(filepath.Base(dir), privatePrefix), "%d-%d-", &pid, &start)
			if err != nil || Alive(pid, start) {
				continue
			}
			if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrPermission) { // another user's
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
