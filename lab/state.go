package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/poll"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sys/unix"
)

// phase says how far a lab is. A lab whose phase isn't phaseUp while nobody
// holds its lock was left by a process that died.
type phase string

const (
	phaseMaking phase = "making"
	phaseUp     phase = "up"
	phaseEnding phase = "ending"
)

// state is what state.json holds: enough to end the lab, and to use it.
type state struct {
	Phase      phase     `json:"phase"`
	Created    time.Time `json:"created"`
	Boot       string    `json:"boot"`       // boot_id of the kernel it was made in
	Namespaces []string  `json:"namespaces"` // that are there or will be
	Processes  []process `json:"processes,omitempty"`
	// Base is the directory in which relative paths of the plan begin: that of the process that made the lab.
	Base string `json:"base,omitempty"`
	// Faults are in force, or were about to be when somebody died.
	Faults []topology.Fault `json:"faults,omitempty"`
	// Plan is in a file of its own, which never changes.
	Plan *topology.Plan `json:"-"`
}

func newState(plan *topology.Plan) *state {
	st := &state{Phase: phaseMaking, Created: time.Now().UTC(), Boot: bootID(), Plan: plan}
	st.Base, _ = os.Getwd() // without one, relative paths are not found, which is told then
	st.Namespaces = append(st.Namespaces, segmentsName(plan.Name))
	for _, n := range plan.Nodes {
		st.Namespaces = append(st.Namespaces, nsName(plan.Name, n.Name))
	}
	return st
}

// guessState stands in for a state that can't be read: every namespace that is
// named as the lab's would be.
func guessState(name string) (*state, error) {
	names, err := netns.List()
	if err != nil {
		return nil, err
	}
	st := &state{Phase: phaseEnding, Boot: bootID(), Plan: &topology.Plan{Name: name}}
	for _, n := range names {
		if strings.HasPrefix(n, name+".") {
			st.Namespaces = append(st.Namespaces, n)
		}
	}
	return st, nil
}

// alive tells whether this kernel has anything of the lab.
func (st *state) alive() bool {
	return st.Boot == bootID() && slices.ContainsFunc(st.Namespaces, func(name string) bool {
		_, err := os.Lstat(netns.Path(name))
		return err == nil
	})
}

func nsName(lab, node string) string  { return lab + "." + node }
func segmentsName(lab string) string  { return lab + ".@segments" }
func stateFile(dir string) string     { return filepath.Join(dir, "state.json") }
func planFile(dir string) string      { return filepath.Join(dir, "plan.json") }
func labPath(name string) string      { return filepath.Join(root(), "labs", name) }
func commandLog(dir, n string) string { return filepath.Join(dir, n+".log") }

// bootID tells one run of a kernel from another (random(4)). Without /proc
// nothing else would work either.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// root is where the state of all labs is kept.
func root() string {
	if dir := os.Getenv("IPVSLAB_STATE"); dir != "" {
		return dir
	}
	return "/run/ipvslab"
}

// List names the labs that are recorded, half-made ones included, in alphabetical order.
func List() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root(), "labs"))
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && nameForm.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// absent says that an error means: nothing there. Root's labs are not there for
// an ordinary user, who could do nothing with them.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0
}

func readState(name string) (*state, string, error) {
	if !nameForm.MatchString(name) {
		return nil, "", fmt.Errorf("%w: %q can't be a lab's name", ErrNotExist, name)
	}
	path := labPath(name)
	data, err := os.ReadFile(stateFile(path))
	if absent(err) {
		return nil, path, ErrNotExist
	}
	if err != nil {
		return nil, path, fmt.Errorf("read lab state: %w", err)
	}
	st := &state{}
	if err := json.Unmarshal(data, st); err != nil {
		return nil, path, fmt.Errorf("read lab state %s: %w", stateFile(path), err)
	}
	if data, err = os.ReadFile(planFile(path)); err != nil {
		return nil, path, fmt.Errorf("read lab plan: %w", err)
	}
	if err := json.Unmarshal(data, &st.Plan); err != nil {
		return nil, path, fmt.Errorf("read lab plan %s: %w", planFile(path), err)
	}
	return st, path, nil
}

// stateDir is a lab's directory, held by this process (flock(2)) until close.
type stateDir struct {
	name, path string
	lock       *os.File
}

// openDir locks a lab's directory, waiting as long as ctx allows for another
// process to be done with it. It makes the directory if told to, and fails with
// ErrNotExist otherwise.
func openDir(ctx context.Context, name string, create bool) (*stateDir, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("%w: %q can't be a lab's name", ErrNotExist, name)
	}
	d := &stateDir{name: name, path: labPath(name)}
	pace := poll.Start()
	for {
		if create {
			if err := os.MkdirAll(d.path, 0o700); err != nil {
				return nil, fmt.Errorf("create lab directory: %w", err)
			}
		}
		locked, err := d.tryLock()
		if errors.Is(err, fs.ErrNotExist) && create {
			continue // removed between two lines by a `down`
		}
		if !create && absent(err) {
			return nil, ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		if locked {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the process that works on this lab: %w", ctx.Err())
		case <-pace.Again():
		}
	}
}

// tryLock takes the lock if it is free. Whoever gets the lock of a directory
// that was removed meanwhile has got nothing: hence the comparison.
func (d *stateDir) tryLock() (bool, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, f.Close()
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("lock %s: %w", d.path, err), f.Close())
	}
	mine, err1 := f.Stat()
	current, err2 := os.Stat(d.path)
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(mine, current) {
		return false, errors.Join(err, f.Close())
	}
	d.lock = f
	return true, nil
}

// close gives the lock back. Closing a directory can't lose anything.
func (d *stateDir) close() { d.lock.Close() }

func (d *stateDir) read() (*state, error) {
	st, _, err := readState(d.name)
	return st, err
}

// begin writes down a lab that is about to be made: the plan, then the state,
// without which there is no lab.
func (d *stateDir) begin(st *state) error {
	data, err := json.Marshal(st.Plan)
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	if err := writeFile(planFile(d.path), data); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return d.write(st)
}

// write replaces the state in one step.
func (d *stateDir) write(st *state) error {
	data, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("encode lab state: %w", err)
	}
	if err := writeFile(stateFile(d.path), data); err != nil {
		return fmt.Errorf("write lab state: %w", err)
	}
	return nil
}

// writeFile writes a file that is there whole or not at all, whenever this
// process is killed. It doesn't wait for the disk (fsync(2), milliseconds each):
// a machine that crashes takes along the namespaces that the file is about.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	return os.Rename(path+".new", path)
}

// remove removes the lab's directory with all that is in it; the lock stays
// held until close.
func (d *stateDir) remove() error {
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("remove lab directory: %w", err)
	}
	return nil
}

// clear removes what is in the directory, and keeps the directory.
func (d *stateDir) clear() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("clear lab directory: %w", err)
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.path, e.Name())))
	}
	return err
}
