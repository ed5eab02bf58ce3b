// Package boot is the guest's pid 1: it makes the guest a place where a lab's
// commands can run, and serves sessions until it is told to stop or is killed.
//
// The order is for speed: nothing waits for what it does not need. Sessions
// are accepted at once; their commands start when the file systems are mounted and the
// modules loaded.
//
// The package runs inside the guest only. It must not import the launchers:
// it gets the half of one that it needs as a machine.Inside.
package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/modules"
	"github.com/ipvslab/ipvslab/internal/guest/session"
)

// LabsDir is where labs keep their state; the names in it are the labs present.
const LabsDir = "/run/ipvslab/labs"

// Config is what the host tells the guest, as soon as it listens.
type Config struct {
	Writable   []string `json:"writable,omitempty"`   // directories, mounted in this order
	Modules    []string `json:"modules,omitempty"`    // absolute paths, in the order of loading
	ModulesDir string   `json:"modulesDir,omitempty"` // the kernel's modules, for the system's own modprobe
	Demand     string   `json:"demand,omitempty"`     // the file that tells which modules to load when the kernel asks
	Executable string   `json:"executable,omitempty"` // the host's path of the binary that is pid 1 here
}

// State is what the guest answers when asked.
type State struct {
	Labs []string `json:"labs"`
}

// guest is the state of pid 1.
type guest struct {
	kind   string
	inside machine.Inside
	config Config
	procs  *reaper

	once  sync.Once
	ready chan struct{}
	err   error // valid when ready is closed
}

// Run is pid 1's life. It does not return.
func Run(kind string, inside machine.Inside) {
	g := &guest{kind: kind, inside: inside, ready: make(chan struct{}), procs: newReaper()}
	err := g.serve()
	// The host reads the console's tail.
	fmt.Fprintf(os.Stderr, "ipvslab: guest: %v\n", err)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "ipvslab: guest: power off: %v\n", err)
	}
	os.Exit(1)
}

func (g *guest) serve() error {
	if err := mountKernel(); err != nil {
		return err
	}
	if err := g.inside.Root(); err != nil {
		return fmt.Errorf("enter host's tree: %w", err)
	}
	if err := restrictRoot(); err != nil {
		return err
	}
	line, err := g.inside.Line()
	if err != nil {
		return err
	}
	base := make(chan error, 1)
	go func() { base <- prepareBase() }()
	s := &session.Server{
		Configure: func(raw json.RawMessage) error { return g.configure(raw, base) },
		Ready:     func() error { <-g.ready; return g.err },
		State:     g.state,
		Flush:     unix.Sync, // files are to be on the host when the command has ended
		Adjust:    g.adjust,
		Start:     g.procs.start,
	}
	return s.Serve(line)
}

// configure puts the host's configuration in force and lets commands start.
func (g *guest) configure(raw json.RawMessage, base <-chan error) error {
	err := errors.New("configure guest: done before")
	g.once.Do(func() {
		defer close(g.ready)
		if err = json.Unmarshal(raw, &g.config); err != nil {
			g.err = fmt.Errorf("read configuration: %w", err)
		} else {
			g.err = g.apply(base)
		}
		err = g.err
	})
	return err
}

func (g *guest) apply(base <-chan error) error {
	if err := modules.Load(g.config.Modules); err != nil {
		// What is missing is missed by whoever needs it; the console tells why.
		fmt.Fprintf(os.Stderr, "ipvslab: guest: %v\n", err)
	}
	if err := <-base; err != nil {
		return err
	}
	if err := serveRequests(g.config.Demand); err != nil {
		return err
	}
	if err := errors.Join(mountTemporary(), mountModules(g.config.ModulesDir)); err != nil {
		return err
	}
	for i, dir := range g.config.Writable {
		err := mountPoint(dir)
		if err == nil {
			err = g.inside.Writable(g.config.Writable, i)
		}
		if err != nil {
			// The host's side, where the reason lies, has told the user.
			fmt.Fprintf(os.Stderr, "ipvslab: guest: %v\n", err)
		}
	}
	return nil
}

// adjust gives a command its guest's environment. The kind of guest tells the
// binary that it need not look for one.
func (g *guest) adjust(c *session.Spec) {
	c.Env = slices.DeleteFunc(slices.Clone(c.Env), func(e string) bool {
		return strings.HasPrefix(e, "IPVSLAB_GUEST=") || strings.HasPrefix(e, "IPVSLAB_STATE=") || strings.HasPrefix(e, "TMPDIR=") && !g.writable(strings.TrimPrefix(e, "TMPDIR="))
	})
	c.Env = append(c.Env, "IPVSLAB_GUEST="+g.kind)
	if unix.Access(c.Dir, unix.X_OK) != nil {
		c.Dir = "/"
	}
	if c.Argv[0] == g.config.Executable {
		// Pid 1's own file is there whatever the name leads to, and is in memory.
		c.Path = ownFile
	}
}

func (g *guest) writable(dir string) bool {
	for _, w := range append([]string{"/tmp", "/run"}, g.config.Writable...) {
		if dir == w || strings.HasPrefix(dir, w+"/") {
			return true
		}
	}
	return false
}

func (g *guest) state() (any, error) {
	s := State{Labs: []string{}}
	entries, err := os.ReadDir(LabsDir)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil // none has ever been there
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			s.Labs = append(s.Labs, e.Name())
		}
	}
	return s, nil
}
