package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// startPlain starts the program without namespaces: as an unprivileged user,
// under Landlock where the kernel has it.
func startPlain(spec Spec, self *os.File) (*Process, error) {
	sys := &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	uid := os.Geteuid()
	if uid == 0 {
		if !reachable(spec.Argv[0]) {
			return nil, fmt.Errorf("start %s: the guest's process runs as the unprivileged user %d here, who cannot reach it: put it where everybody can read, or set XDG_CACHE_HOME=/var/cache", spec.Argv[0], Nobody)
		}
		uid = Nobody
		sys.Credential = &syscall.Credential{Uid: Nobody, Gid: Nobody}
	}
	if err := Sweep(); err != nil {
		return nil, fmt.Errorf("remove what was left behind: %w", err)
	}
	dir, err := pickPrivate(uid, spec.PrivateSize)
	if err != nil {
		return nil, err
	}
	s, err := spawn(spec, self, StageMark, sys)
	if err != nil {
		if os.Geteuid() == 0 && errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("become an unprivileged user (a guest is never run as root): %w", err)
		}
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	r := makeRequest(spec)
	r.PrivateDir = dir
	var answer reply
	if err = sendRequest(s.control, r, nil); err == nil {
		answer, err = receiveReply(s.control)
	}
	if err != nil {
		s.abandon()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	kill := func() {
		_ = unix.Kill(s.pid, unix.SIGTERM) // the second stage ends the others first
		// Should it hang: after its own grace the whole group.
		time.AfterFunc(10*grace, func() { _ = unix.Kill(-s.pid, unix.SIGKILL) })
	}
	p := s.process(answer.Mode, append(unwritable(spec, uid), answer.Notes...), dir, kill)
	return p, nil
}

// unwritable tells which directories the unprivileged user cannot write.
func unwritable(spec Spec, uid int) (notes []string) {
	for _, dir := range spec.Writable {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		if err == nil && int(st.Uid) != uid && (st.Mode&0o002 == 0 || !reachable(dir)) {
			err = fmt.Errorf("it belongs to user %d and the guest's process is user %d", st.Uid, uid)
		}
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s is not writable in the guest: %v", dir, err))
		}
	}
	return notes
}

// reachable tells whether anybody can enter a directory or execute a program.
// A placeholder, and what is not there, is for others to judge.
func reachable(path string) bool {
	for ; filepath.IsAbs(path) && path != "/"; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err == nil && info.Mode()&0o001 == 0 {
			return false
		}
	}
	return true
}

// restrictFiles lets this process write nothing but what the request names.
func restrictFiles(r request, notes []string) (Mode, []string) {
	writable := []string{r.PrivateDir}
	for _, dir := range r.Writable {
		if unix.Access(dir, unix.W_OK|unix.X_OK) == nil { // else there is a note already
			writable = append(writable, dir)
		}
	}
	rules := []landlock.Rule{
		landlock.RODirs("/"),
		landlock.RWDirs(writable...).WithRefer().IgnoreIfMissing(),
		landlock.RWFiles(append([]string{"/dev/null", "/dev/zero", "/dev/full"}, r.Devices...)...).IgnoreIfMissing(),
	}
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version == 0 {
		return UserOnly, append(notes, "this kernel has no Landlock: root in the guest could write whatever the guest's user can ("+
			strings.TrimSpace(errno.Error())+")")
	}
	config := landlock.V6.BestEffort()
	err := config.RestrictPaths(rules...)
	if err != nil {
		return UserOnly, append(notes, fmt.Sprintf("Landlock cannot be used: %v", err))
	}
	return Landlocked, notes
}
