// Package qemu boots an ordinary Linux kernel in QEMU, and is its guest's half
// as well. It serves where user-mode Linux can't: other kernels, other
// architectures, hosts without ptrace.
//
// The kernel gets an initramfs with this binary as its init and the modules
// that reach the host's files over 9p: the host's tree read-only, and each
// writable directory as a share of its own. The line to the host is a virtio
// serial port on a socket pair. QEMU runs in the sandbox, as user-mode Linux does;
// it emulates (TCG), or uses KVM where a probe boot has shown that it works.
//
// The package must not import the supervisor or the session protocol.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/modules"
	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// Kind is the launcher's name.
const Kind = "qemu"

// Launcher starts kernels in QEMU. Its zero value finds the emulator, and
// whether KVM works, itself.
type Launcher struct {
	Emulator   image.QEMUBinary // empty: image.FindQEMU
	Cache      string           // empty: image.CacheDir
	Accel      Accel            // empty: ChooseAccel
	Machine    string           // "microvm", "q35" or "virt"; empty: the best that the emulator has
	Namespaces sandbox.Use      // handed to the sandbox; for tests
}

// Boot limits, from start to the guest's first byte. TCG boots take 2 to 3 s on
// an idle machine; a few hang for good (see tsc_early_khz), hence a second try.
var bootLimits = [2]time.Duration{10 * time.Second, 60 * time.Second}

// Kind is "qemu".
func (Launcher) Kind() string { return Kind }

// Launch starts QEMU. What a boot needs besides the kernel (the initramfs, the
// uncompressed kernel, the TSC's frequency) is made once and kept in the cache.
func (l Launcher) Launch(ctx context.Context, spec machine.Spec) (machine.Machine, error) {
	m, err := l.launch(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start %s in QEMU: %w", spec.Kernel, err)
	}
	return m, nil
}

func (l Launcher) launch(ctx context.Context, spec machine.Spec) (*host, error) {
	if err := l.fill(ctx, spec); err != nil {
		return nil, err
	}
	b, err := l.prepare(spec)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return newHost(func() (*attempt, error) { return l.start(b, spec) }, bootLimits)
}

// fill finds what the launcher was not given.
func (l *Launcher) fill(ctx context.Context, spec machine.Spec) error {
	var err error
	if l.Cache == "" {
		if l.Cache, err = image.CacheDir(); err != nil {
			return err
		}
	}
	if l.Emulator.Path == "" {
		if l.Emulator, err = image.FindQEMU(l.Cache); err != nil {
			return err
		}
	}
	if l.Machine == "" {
		l.Machine = defaultMachine(l.Emulator)
	}
	if l.Accel == "" {
		l.Accel = ChooseAccel(ctx, l.Cache, spec.Kernel, func(ctx context.Context) error { return l.tryKVM(ctx, spec) })
	}
	return nil
}

// parts are the files that QEMU boots.
type parts struct{ kernel, initramfs string }

func (l Launcher) prepare(spec machine.Spec) (parts, error) {
	kernel, err := Uncompressed(l.Cache, spec.Kernel)
	if err != nil {
		return parts{}, err
	}
	// All that labs need, not only what reaches the host's tree: from there each
	// file takes several round trips, in emulation 60 ms together.
	plan, err := modules.Make(filepath.Join(l.Cache, "modules"), spec.ModulesDir, append(modules.Root(), modules.Required()...))
	if err != nil {
		return parts{}, err
	}
	if err := CheckStatic(spec.Init); err != nil {
		return parts{}, err
	}
	initramfs, err := makeInitramfs(l.Cache, spec.Init, plan.Files)
	if err != nil {
		return parts{}, err
	}
	return parts{kernel, initramfs}, nil
}

// start starts one QEMU.
func (l Launcher) start(b parts, spec machine.Spec) (*attempt, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	a := &attempt{line: ours, modules: spec.ModulesDir}
	needed := []string{l.Emulator.Path, b.kernel, b.initramfs}
	if spec.ModulesDir != "" {
		needed = append(needed, spec.ModulesDir)
	}
	s := sandbox.Spec{
		Argv:       l.commandLine(b, spec),
		Files:      []*os.File{theirs},
		Output:     &a.console,
		Writable:   spec.Writable,
		Needed:     append(append(needed, l.Emulator.Libraries...), l.Emulator.Data...),
		Namespaces: l.Namespaces,
	}
	if libs := l.Emulator.LibraryPath(); libs != "" {
		s.Env = append(s.Env, "LD_LIBRARY_PATH="+libs)
	}
	if l.Accel == KVM {
		s.Devices = append(s.Devices, "/dev/kvm")
	}
	if a.process, err = sandbox.Start(s); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	return a, nil
}

// tryKVM boots the kernel with KVM and waits for its first byte.
func (l Launcher) tryKVM(ctx context.Context, spec machine.Spec) error {
	l.Accel = KVM
	spec.Writable = nil
	b, err := l.prepare(spec)
	if err != nil {
		return err
	}
	a, err := l.start(b, spec)
	if err != nil {
		return err
	}
	defer a.kill()
	return a.waitHello(ctx)
}
