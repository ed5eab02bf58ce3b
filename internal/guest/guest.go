// Package guest runs commands in a kernel of its own: it boots one with a
// launcher (user-mode Linux, QEMU), the same binary becomes that kernel's init, and
// the command runs there with this side's streams, terminal, signals, directory and files.
//
// A guest is ephemeral ([Run]) or stays in the background under a supervisor
// process ([Start]), where any number of commands attach to it until its last lab is gone.
//
// What is confined, and how, is the sandbox package's; how a kernel is found is the image package's.
// The package must not import anything of the lab.
package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/guest/boot"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/modules"
	"github.com/ipvslab/ipvslab/internal/guest/qemu"
	"github.com/ipvslab/ipvslab/internal/guest/session"
)

// EnvGuest is set in every command's environment in a guest, to the launcher's kind.
const EnvGuest = "IPVSLAB_GUEST"

// Options say which guest to boot.
type Options struct {
	// Launcher is the kind of guest: "uml" or "qemu". Empty: "uml".
	Launcher string
	// Kernel is the kernel's image, an absolute path.
	Kernel string
	// ModulesDir is the directory of its modules, if it has any.
	ModulesDir string
	// Modules are loaded before anything runs, by name, and no others. Nil: those of
	// modules.First, and those of modules.Later when the kernel asks for them. Those
	// that the kernel does not have are passed over: a probe in the guest tells.
	Modules []string
	// Features are those that will be needed, as package probe names them: unless
	// Modules says otherwise, their modules are loaded before anything runs, too.
	Features []string
	// Memory is the guest's memory in bytes; zero: machine.DefaultMemory.
	Memory int64
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// Dir is the working directory, which the guest may write. Empty: the current one.
	Dir string
	// Writable are further directories that the guest may write.
	Writable []string
	// BootTimeout bounds the time until the guest is ready; zero: 60 s, 3 min in QEMU.
	BootTimeout time.Duration
	// Note is called with what the user should know, such as a directory that
	// will not be writable. Nil: dropped.
	Note func(string) `json:"-"`

	// NoNamespaces confines the guest as on a host that refuses namespaces. For tests.
	NoNamespaces bool

	plan modules.Plan // made of Modules
}

// DiedError tells that a guest is lost.
type DiedError struct {
	ID      string   // of a background guest
	Booting bool     // it was never ready
	Labs    []string // that were in it
	Reason  error    // why, if known
	Console string   // the tail of what its kernel printed
}

func (e *DiedError) Error() string {
	var b strings.Builder
	b.WriteString("the guest")
	if e.ID != "" {
		b.WriteString(" " + e.ID)
	}
	if len(e.Labs) > 0 {
		b.WriteString(" with lab " + strings.Join(e.Labs, ", "))
	}
	b.WriteString(" died")
	if e.Booting {
		b.WriteString(" while it booted")
	}
	if e.Reason != nil {
		fmt.Fprintf(&b, ": %v", e.Reason)
	}
	if c := strings.TrimSpace(e.Console); c != "" {
		b.WriteString("\nthe end of its console:\n  " + strings.ReplaceAll(c, "\n", "\n  "))
	}
	return b.String()
}

func (e *DiedError) Unwrap() error { return e.Reason }

// fill checks the options and fills in the defaults.
func (o Options) fill() (Options, error) {
	if o.Launcher == "" {
		o.Launcher = "uml"
	}
	if o.Kernel == "" {
		return o, errors.New("boot guest: no kernel given")
	}
	if o.BootTimeout == 0 {
		o.BootTimeout = 60 * time.Second
		if o.Launcher == qemu.Kind {
			o.BootTimeout = 3 * time.Minute // it has a watchdog of its own, and emulation crawls on a busy host
		}
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	if o.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return o, fmt.Errorf("boot guest: %w", err)
		}
		o.Dir = dir
	}
	var writable []string
	seen := map[string]bool{}
	for _, dir := range append([]string{o.Dir}, o.Writable...) {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return o, fmt.Errorf("boot guest: make %s writable: %w", dir, err)
		}
		if seen[real] {
			continue
		}
		seen[real] = true
		if why := ungivable(real); why != "" {
			o.Note(fmt.Sprintf("%s is not writable in the guest: %s", dir, why))
			continue
		}
		writable = append(writable, real)
	}
	slices.SortStableFunc(writable, func(a, b string) int { return len(a) - len(b) }) // parents first
	o.Writable = writable
	return o, nil
}

// planModules finds the files of the modules to load.
func (o *Options) planModules() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), fmt.Sprintf("ipvslab-cache-%d", os.Geteuid()))
	}
	first, later := o.Modules, []string(nil)
	if first == nil {
		first, later = modules.First(), modules.Later()
	}
	o.plan, err = modules.MakeDemand(filepath.Join(cache, "ipvslab", "modules"), o.ModulesDir, first, later)
	if err == nil {
		o.plan, err = o.plan.With(o.Features...)
	}
	if err != nil {
		return fmt.Errorf("boot guest: %w", err)
	}
	return nil
}

// patience is how long a boot may take without a word about it.
const patience = time.Second

// tellSlow lets the user know what takes so long, until the function returned is called.
func (o Options) tellSlow() func() {
	timer := time.AfterFunc(patience, func() { o.Note("booting a guest kernel (" + o.Launcher + ") ...") })
	return func() { timer.Stop() }
}

// ungivable says why a directory is never made writable, or "".
func ungivable(dir string) string {
	if slices.Contains([]string{"/", "/run", "/tmp", "/var", "/etc", "/usr", "/boot", "/home"}, dir) {
		return "it is too much of the host; start in a directory of your own"
	}
	for _, special := range []string{"/dev", "/proc", "/sys"} {
		if dir == special || strings.HasPrefix(dir, special+"/") {
			return "it belongs to the host's kernel"
		}
	}
	return ""
}

// instance is a guest that this process owns.
type instance struct {
	machine machine.Machine
	client  *session.Client
	options Options
	ready   chan struct{} // closed when the boot has ended
	failure error         // of the boot; known when ready is closed
}

// launch boots a guest and sends it its configuration. Commands can be sent at once; they
// run when it is ready.
func launch(ctx context.Context, o Options) (*instance, error) {
	l, ok := launchers[o.Launcher]
	if !ok {
		return nil, fmt.Errorf("boot guest: unknown kind %q", o.Launcher)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("boot guest: %w", err)
	}
	m, err := l.host.Launch(ctx, machine.Spec{
		Kernel: o.Kernel, ModulesDir: o.ModulesDir, Memory: o.Memory,
		Init: self, KernelArgs: o.KernelArgs, Writable: o.Writable, NoNamespaces: o.NoNamespaces,
	})
	if err != nil {
		return nil, fmt.Errorf("boot guest: %w", err)
	}
	for _, n := range m.Notes() {
		o.Note(n)
	}
	client, err := session.NewClient(m.Line())
	if err == nil {
		err = o.planModules() // while the kernel boots
	}
	if err != nil {
		return nil, errors.Join(err, m.Kill())
	}
	i := &instance{machine: m, client: client, options: o, ready: make(chan struct{})}
	watchdog := time.AfterFunc(o.BootTimeout, func() { _ = m.Kill() })
	go func() {
		i.failure = client.Configure(boot.Config{Writable: o.Writable, Modules: o.plan.Files, Demand: o.plan.Demand, ModulesDir: o.ModulesDir, Executable: self})
		if !watchdog.Stop() {
			i.failure = fmt.Errorf("boot guest: not ready within %v", o.BootTimeout)
		}
		close(i.ready)
	}()
	return i, nil
}

// run runs a command in the guest and tells a lost guest from a failed command.
func (i *instance) run(ctx context.Context, cmd session.Command) (int, error) {
	status, err := i.client.Run(ctx, cmd)
	if !errors.Is(err, session.ErrLost) {
		return status, err
	}
	return -1, i.died()
}

// died makes the error of a guest whose connection is lost. Its kernel may take
// a moment to end after init, or hang on.
func (i *instance) died() *DiedError {
	late, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	e := &DiedError{}
	select {
	case <-i.machine.Done():
		e.Reason = i.machine.Err()
	case <-late.Done():
	}
	select {
	case <-i.ready:
		e.Booting = i.failure != nil
		if e.Booting && !errors.Is(i.failure, session.ErrLost) {
			e.Reason = errors.Join(i.failure, e.Reason)
		}
	case <-late.Done():
	}
	e.Console = i.machine.Console()
	return e
}

// stop ends the guest. Its files have been written back after each command.
func (i *instance) stop() error {
	return errors.Join(i.machine.Kill(), i.client.Close())
}
