// Package sandbox confines the host process of a guest kernel.
//
// The threat model takes root in the guest for arbitrary code that runs as the
// guest's host process: in user-mode Linux it is (hostfs can be remounted
// read-write, modules can be loaded). So it is the host process that is shut
// in, by the host's kernel, before the guest's first instruction:
//
//   - its user is the invoking user or, when root invokes, an unprivileged one
//     ([Nobody]); it is uid 0 only within a user namespace of its own
//   - mount, pid, network, IPC and UTS namespaces of its own: it sees the
//     host's tree read-only, nosuid and nodev; it may write only the
//     directories of [Spec.Writable] and a private tmpfs that ends with it
//   - no capability, no way to gain one (no_new_privs, empty bounding set), no
//     core dump, and a system call filter that denies what namespaces leave
//     open: unix sockets of the host, setuid bits on files it writes for root
//
// Where the host refuses namespaces (a plain container), an unprivileged user,
// no_new_privs, Landlock and the filter have to do; [Process.Notes] says what is
// lost. It never runs as the host's root.
//
// The pid namespace gives clean endings: when its pid 1 dies, by a kill or
// because the thread that started it is gone, the kernel ends every process in it.
//
// The package must not import anything of ours.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Nobody is the uid and gid that the process runs as when root starts it.
const Nobody = 65534

// Placeholders in Spec.Argv and Spec.Env: their values are known only inside.
const (
	Private = "{private}" // a private writable directory on a file system that allows execution
	Self    = "{self}"    // the running executable, as the confined process can reach it
)

// Spec says what to run and what it may do.
type Spec struct {
	// Argv is the program (absolute path) and its arguments, with placeholders.
	Argv []string
	// Env is the environment, with placeholders. TMPDIR and HOME are set to the private directory.
	Env []string
	// Files become descriptors 3 and up of the program. They stay open here.
	Files []*os.File
	// Output receives what the program writes to its standard output and error; nil: dropped.
	Output io.Writer
	// Writable are absolute paths of existing directories that the program may write.
	Writable []string
	// Needed are further absolute paths that must be visible although they lie in /run.
	Needed []string
	// Devices are device files beside null, zero, full, random and urandom.
	Devices []string
	// PrivateSize bounds the private directory in bytes; zero: 64 MiB.
	PrivateSize int64
	// Affinity is the set of CPUs to run on; empty: no restriction.
	Affinity []int
	// Namespaces set to Never takes the way of hosts that refuse namespaces. For tests.
	Namespaces Use
}

// Use says whether a facility is used.
type Use int

// Auto uses a facility where it is there, Never does without.
const (
	Auto Use = iota
	Never
)

// Mode tells how a process is confined.
type Mode string

// The modes, the strongest first.
const (
	Namespaced Mode = "namespaces"
	Landlocked Mode = "landlock"
	UserOnly   Mode = "user only" // an unprivileged user, no_new_privs and the filter, no more
)

// errRefused marks a failure for which the next weaker mode is the answer.
var errRefused = errors.New("refused by this host")

// Process is a confined process with all its descendants.
type Process struct {
	mode  Mode
	notes []string
	pid   int
	kill  func()
	once  sync.Once
	done  chan struct{}
	err   error
}

// Start confines and starts the program. It is an error only when the program
// cannot be started at all; what the host refuses is in Notes.
func Start(spec Spec) (*Process, error) {
	if len(spec.Argv) == 0 {
		return nil, errors.New("start sandbox: no program")
	}
	if spec.PrivateSize == 0 {
		spec.PrivateSize = 64 << 20
	}
	self, err := openSelf()
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	defer self.Close()
	var refusal error
	if spec.Namespaces == Auto {
		p, err := startNamespaced(spec, self)
		if err == nil || !errors.Is(err, errRefused) {
			return p, wrapStart(err)
		}
		refusal = err
	}
	p, err := startPlain(spec, self)
	if err != nil {
		return nil, wrapStart(errors.Join(refusal, err))
	}
	if refusal != nil {
		p.notes = append([]string{fmt.Sprintf("the guest's process is confined by %s only: %v", p.mode, refusal)}, p.notes...)
	}
	return p, nil
}

func wrapStart(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("start sandbox: %w", err)
}

// Mode tells how the process is confined.
func (p *Process) Mode() Mode { return p.mode }

// Notes say, for the user, what the confinement could not give.
func (p *Process) Notes() []string { return p.notes }

// Pid is the host's pid of the sandbox's first process.
func (p *Process) Pid() int { return p.pid }

// Done is closed when no process of the sandbox is left.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the sandbox and returns how the program ended: nil
// or an *os.SyscallError or *ExitError.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Kill ends every process of the sandbox and waits for that.
func (p *Process) Kill() {
	p.once.Do(p.kill)
	<-p.done
}

// ExitError tells that the program ended with a status other than 0. A signal
// is 128 plus its number.
type ExitError struct{ Status int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Status) }
