package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// Files in a background guest's directory.
const (
	infoFile   = "guest.json"
	optionFile = "options.json"
	socketFile = "sock"
	logFile    = "log"
)

// Info is what is known of a background guest. It is kept in the guest's
// directory and names the process that owns it for good: pid and start time.
type Info struct {
	ID       string    `json:"id"`
	PID      int       `json:"pid"`   // of the supervisor
	Start    uint64    `json:"start"` // of the supervisor, see sandbox.StartTime
	Launcher string    `json:"launcher"`
	Kernel   string    `json:"kernel"`
	Dir      string    `json:"dir"`
	Writable []string  `json:"writable,omitempty"`
	Labs     []string  `json:"labs,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
	Booted   time.Time `json:"booted,omitzero"` // zero: not ready yet
	// Died and Console are set by a supervisor whose guest has died.
	Died    string `json:"died,omitempty"`
	Console string `json:"console,omitempty"`
}

// runtimeDir is the directory of this user's background guests. It is checked
// to be this user's and nobody else's, and made if told to; else it may be
// missing (fs.ErrNotExist).
func runtimeDir(create bool) (string, error) {
	uid := os.Geteuid()
	parent, name := os.TempDir(), "ipvslab-"+strconv.Itoa(uid)
	if len(parent) > longestParent {
		parent = "/tmp"
	}
	if x := os.Getenv("XDG_RUNTIME_DIR"); x != "" && len(x) <= longestParent && owned(x, uid) {
		parent, name = x, "ipvslab"
	} else if uid == 0 && unix.Access("/run", unix.W_OK) == nil {
		parent, name = "/run", "ipvslab-host"
	}
	dir := filepath.Join(parent, name)
	err := checkRuntimeDir(dir, uid)
	for try := 0; create && errors.Is(err, fs.ErrNotExist) && try < runtimeTries; try++ {
		if err = os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make runtime directory: %w; set XDG_RUNTIME_DIR or TMPDIR to a directory of your own", err)
		}
		err = checkRuntimeDir(dir, uid)
	}
	return dir, err
}

// longestParent leaves room for the rest of a socket's path, which has at most
// 107 bytes (unix(7)).
const longestParent = 107 - len("/ipvslab-4294967295/12345678/") - len(socketFile)

// runtimeTries bounds how often the runtime directory is made again that other
// calls remove, as it is empty.
const runtimeTries = 100

func checkRuntimeDir(dir string, uid int) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("check runtime directory: %w", err)
	}
	if !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != uid || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("check runtime directory: %s must be a directory of user %d alone (mode 0700); remove it or set XDG_RUNTIME_DIR", dir, uid)
	}
	return nil
}

func owned(path string, uid int) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && int(st.Uid) == uid
}

// writeInfo replaces the file at once, so that a reader sees the old or the new.
func writeInfo(dir string, i Info) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, infoFile)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("record guest: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("record guest: %w", err)
	}
	return nil
}

func readInfo(dir string) (Info, error) {
	var i Info
	b, err := os.ReadFile(filepath.Join(dir, infoFile))
	if err != nil {
		return i, fmt.Errorf("read guest's record: %w", err)
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, fmt.Errorf("read guest's record: %w", err)
	}
	return i, nil
}

func (i Info) alive() bool { return i.Died == "" && sandbox.Alive(i.PID, i.Start) }

// lastWord is the record of a guest whose supervisor was found not to run, read
// again: it may have said why, and ended, since it was read.
func (i Info) lastWord(path string) Info {
	if last, err := readInfo(path); err == nil {
		return last
	}
	return i
}

// diedError is the error of a guest whose record is all that is left.
func (i Info) diedError() *DiedError {
	e := &DiedError{ID: i.ID, Booting: i.Booted.IsZero(), Labs: i.Labs, Console: i.Console}
	switch {
	case i.Died != "":
		e.Reason = errors.New(i.Died)
	default:
		e.Reason = errors.New("its supervisor process was killed")
	}
	return e
}

// Guest is a background guest that runs.
type Guest struct {
	Info
	path string   // its directory
	hold *os.File // of who started it: see readyByte
}

// List returns this user's background guests, and those that were found dead
// with labs in them; of the dead ones nothing is left after the call.
func List() (live []*Guest, dead []*DiedError, err error) {
	errs := []error{sandbox.Sweep()}
	root, err := runtimeDir(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.Join(errs...)
	}
	if err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(root)
	if !errors.Is(err, fs.ErrNotExist) { // another call may have removed it, as it was empty
		errs = append(errs, err)
	}
	for _, e := range entries {
		if sweepReservation(root, e.Name()) {
			continue
		}
		path := filepath.Join(root, e.Name())
		i, err := readInfo(path)
		if unborn(e.Name()) {
			continue // it is being made at this moment
		}
		if err == nil && i.alive() {
			if !i.Booted.IsZero() {
				live = append(live, &Guest{Info: i, path: path})
			}
			continue
		}
		if err == nil && len(i.Labs) > 0 {
			dead = append(dead, i.lastWord(path).diedError())
		}
		errs = append(errs, os.RemoveAll(path))
	}
	if len(live) == 0 {
		_ = os.Remove(root) // not empty while a guest is in the making
	}
	return live, dead, errors.Join(errs...)
}

// unbornName is the name of a guest's directory without its record yet.
func unbornName(pid int, start uint64, id string) string {
	return fmt.Sprintf(".%d-%d-%s", pid, start, id)
}

// unborn tells whether a directory is still to get its record from a process that runs.
func unborn(name string) bool {
	var pid int
	var start uint64
	_, err := fmt.Sscanf(name, ".%d-%d-", &pid, &start)
	return err == nil && sandbox.Alive(pid, start)
}

// ErrNoGuest tells that no background guest holds the lab.
var ErrNoGuest = errors.New("no guest holds the lab")

// Find returns the background guest that holds the lab. If that guest has died
// the error is its *[DiedError]; what it left behind is removed. Other guests
// found dead are told of, unless tell is nil.
func Find(lab string, tell func(*DiedError)) (*Guest, error) {
	live, dead, err := List()
	if err != nil {
		return nil, err
	}
	for _, g := range live {
		labs, err := g.labs()
		if err != nil {
			labs = g.Labs // it may be dying; using it will tell
		}
		if slices.Contains(labs, lab) {
			return g, nil
		}
	}
	var mine error
	for _, d := range dead {
		switch {
		case slices.Contains(d.Labs, lab):
			mine = d
		case tell != nil:
			tell(d)
		}
	}
	if mine != nil {
		return nil, mine
	}
	return nil, fmt.Errorf("find guest of lab %s: %w", lab, ErrNoGuest)
}
