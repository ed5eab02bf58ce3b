// Package uml boots user-mode Linux, the Linux kernel as an ordinary program,
// and is its guest's half as well.
//
// The kernel's process runs in a sandbox, pinned to one CPU (unpinned, its
// processes chase each other over the CPUs: 6 times slower). The guest's root file system
// is the sandbox's, through hostfs. The byte stream is a serial line with a
// credit window, see [hostLine].
//
// The package must not import the supervisor or the session protocol.
package uml

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// Kind is the launcher's name.
const Kind = "uml"

// Launcher starts user-mode Linux kernels. Its zero value is ready.
type Launcher struct{}

// Kind is "uml".
func (Launcher) Kind() string { return Kind }

// Launch starts the kernel. The machine's memory is a file in the sandbox's
// private directory: memory is taken as the guest uses it.
func (Launcher) Launch(ctx context.Context, spec machine.Spec) (machine.Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if spec.Memory == 0 {
		spec.Memory = machine.DefaultMemory
	}
	m := &host{kernel: spec.Kernel}
	cpu, err := acquireCPU()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Kernel, err)
	}
	m.cpu = cpu
	data, dataInside, err := linePair()
	if err != nil {
		cpu.release()
		return nil, fmt.Errorf("start %s: %w", spec.Kernel, err)
	}
	defer dataInside.Close()
	acks, acksInside, err := linePair()
	if err != nil {
		cpu.release()
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.Kernel, err), data.Close())
	}
	defer acksInside.Close()
	m.line = newHostLine(data, acks)
	namespaces := sandbox.Auto
	if spec.NoNamespaces {
		namespaces = sandbox.Never
	}
	needed := []string{spec.Kernel}
	if spec.ModulesDir != "" {
		needed = append(needed, spec.ModulesDir)
	}
	m.process, err = sandbox.Start(sandbox.Spec{
		Argv:        commandLine(spec),
		Files:       []*os.File{dataInside, acksInside},
		Output:      &m.console,
		Writable:    spec.Writable,
		Needed:      needed,
		PrivateSize: spec.Memory + 64<<20,
		Affinity:    cpu.set(),
		Namespaces:  namespaces,
	})
	if err != nil {
		cpu.release()
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.Kernel, err), m.line.Close())
	}
	m.done = make(chan struct{})
	go m.watch()
	return m, nil
}

// slow are kernel initialisers that cost up to a second and serve nobody here.
const slow = "raid6_select_algo,init_zswap,calibrate_xor_blocks"

// delayLoops is how often the kernel's delay loop goes round in a tick (BogoMIPS
// times 5000). To find it out takes it 14 ticks of 10 ms; what waits by that loop is
// hardware's drivers, of which there are none.
const delayLoops = 20_000_000

func commandLine(spec machine.Spec) []string {
	args := []string{
		spec.Kernel,
		fmt.Sprintf("mem=%dM", spec.Memory>>20),
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
		"init=" + sandbox.Self,
		"con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:3", "ssl1=fd:4",
		"uml_dir=" + sandbox.Private + "/uml", "umid=ipvslab",
		"quiet", "initcall_blacklist=" + slow, "pty.legacy_count=0",
		fmt.Sprintf("lpj=%d", delayLoops),
		"devtmpfs.mount=0", // it would hide a copy of init in the private directory
		"lsm=", "selinux=0", "audit=0", "panic=-1",
		"IPVSLAB_GUEST=" + Kind, // goes to init's environment (package prefault)
	}
	args = append(args, spec.KernelArgs...)
	return append(args, "--", machine.Mark, Kind)
}

// linePair makes a connected pair of stream sockets: ours, and the guest's.
func linePair() (ours, inside *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make serial line: %w", err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(pair[0]), unix.Close(pair[1]))
	}
	return os.NewFile(uintptr(pair[0]), "serial line"), os.NewFile(uintptr(pair[1]), "guest's serial line"), nil
}

// host is a running kernel as the host sees it.
type host struct {
	kernel  string
	cpu     cpu
	line    *hostLine
	process *sandbox.Process
	console machine.Tail
	killed  atomic.Bool
	done    chan struct{}
	err     error
}

// watch waits for the kernel's end and says why it ended.
func (m *host) watch() {
	err := m.process.Wait()
	m.cpu.release()
	if err != nil {
		m.err = explain(m.kernel, err, m.console.String())
	}
	_ = m.line.Close() // its peer is gone; readers get the end of file
	close(m.done)
}

// explain finds the reason in what the kernel printed before it gave up.
func explain(kernel string, err error, console string) error {
	for _, known := range []struct{ text, reason string }{
		{"ptrace", "this host does not allow ptrace, which user-mode Linux needs (a seccomp profile or kernel.yama.ptrace_scope); use QEMU: --kernel qemu"},
		{"No space left", "no room for the guest's memory; set TMPDIR to a directory with more, or make the guest smaller"},
		{"noexec", "the directory of the guest's memory is mounted noexec; set TMPDIR to another"},
		{"Kernel panic", "the guest's kernel panicked"},
	} {
		if strings.Contains(console, known.text) {
			return fmt.Errorf("run %s: %s (%w)", kernel, known.reason, err)
		}
	}
	return fmt.Errorf("run %s: %w", kernel, err)
}

func (m *host) Line() io.ReadWriteCloser { return m.line }
func (m *host) Done() <-chan struct{}    { return m.done }
func (m *host) Console() string          { return m.console.String() }

func (m *host) Notes() []string { return m.process.Notes() }

func (m *host) Err() error {
	select {
	case <-m.done:
		if !m.killed.Load() {
			return m.err
		}
	default:
	}
	return nil
}

func (m *host) Kill() error {
	select {
	case <-m.done:
	default:
		m.killed.Store(true)
		m.process.Kill()
		<-m.done
	}
	return nil
}
