// Package machine is the small interface between the guest's supervisor and
// the launchers that boot a kernel (user-mode Linux, QEMU).
//
// A launcher has two halves: [Launcher] runs on the host and starts the
// kernel's process, [Inside] runs in the guest, in pid 1. Between them lies one
// reliable full-duplex byte stream. Everything else (sessions, files, modules)
// is built upon that stream and knows no launcher.
//
// The package must not import any launcher, nor anything of the lab.
package machine

import (
	"context"
	"io"
)

// Mark is the first argument that the kernel passes to its init (behind "--"
// on the kernel's command line). A process that is pid 1 and has it as its
// first argument is the guest's init; the second argument is the launcher's kind.
const Mark = "ipvslab-guest-init"

// Spec says what to boot. Paths are absolute and are the host's.
type Spec struct {
	// Kernel is the image: a linux.uml, a vmlinux or a bzImage.
	Kernel string
	// ModulesDir is the directory with the kernel's modules; empty for a kernel without.
	ModulesDir string
	// Memory is the guest's memory in bytes; zero means [DefaultMemory].
	Memory int64
	// CPUs is the number of virtual CPUs, for launchers that can have several; zero: the launcher's choice.
	CPUs int
	// Init is the static executable that becomes the guest's pid 1. It calls guest.Hook.
	Init string
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// Writable are the directories that the guest may write, as the invoking user.
	// All else of the host's tree is read-only to it.
	Writable []string
	// Dir is a private existing directory on the host for whatever must have a
	// name there (a socket, say). Empty: the launcher needs none or makes its own and removes it.
	Dir string
	// NoNamespaces confines the kernel's process as on a host that refuses namespaces. For tests.
	NoNamespaces bool
}

// DefaultMemory is the memory of a guest unless told otherwise.
const DefaultMemory = 512 << 20

// Launcher is the host's half: it starts kernels of one kind.
type Launcher interface {
	// Kind is the launcher's name: "uml" or "qemu". It is what IPVSLAB_GUEST
	// holds within the guest.
	Kind() string
	// Launch starts the kernel and returns without waiting for it to boot.
	// The machine lives until Kill, until it powers off, or until this process ends,
	// however it ends.
	Launch(ctx context.Context, spec Spec) (Machine, error)
}

// Machine is a booting, running or dead guest.
type Machine interface {
	// Line is the byte stream to the guest's init. It can be written to at once;
	// it reads EOF when the guest is dead.
	Line() io.ReadWriteCloser
	// Done is closed when no process of the guest is left.
	Done() <-chan struct{}
	// Err says why the guest ended: nil while it runs, after Kill and after a power-off.
	Err() error
	// Kill ends every process of the guest and waits until they are gone. It is idempotent.
	Kill() error
	// Console is the tail of what the kernel has printed.
	Console() string
	// Notes are for the user: what the confinement could not give, such as a
	// directory that the guest will not be able to write.
	Notes() []string
}

// Inside is the guest's half. Its methods are called by pid 1, in the order in which they are listed.
type Inside interface {
	// Root makes the host's tree the root file system, read-only. Where the
	// kernel has done that itself it does nothing.
	Root() error
	// Line opens the guest's end of the byte stream. /dev and /proc are mounted.
	Line() (io.ReadWriteCloser, error)
	// Writable mounts dirs[i] of the host, writable, at the same path. The
	// mount point exists.
	Writable(dirs []string, i int) error
}
