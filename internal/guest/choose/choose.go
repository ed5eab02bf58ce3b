// Package choose decides where a command runs: in the host's kernel, or in a
// guest, and then in which.
//
// The decision, [Decide], is a pure function of what [Gather] found out, so that
// `ipvslab kernel status` can explain it and tests can list the cases. [Settle]
// carries out what the decision calls for: it fetches. The package must not
// import a launcher.
package choose

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/probe"
)

// Env names the environment variable that stands for the flag --kernel.
const Env = "IPVSLAB_KERNEL"

// The settings of --kernel beside a path; the launchers are settings too.
const (
	Auto = "auto"
	Host = "host"
)

// Input is what the decision rests on.
type Input struct {
	Setting  string         // of --kernel: Auto (or empty), Host, image.UML, image.QEMU, or a path
	Need     []string       // features, as package probe names them
	Report   probe.Report   // of the running kernel; must cover Need and Features
	Kernels  []image.Kernel // at hand, the preferred first; for a path, the one there
	Emulator error          // image.FindQEMU's; nil: it is there
	InGuest  bool           // this process is in a guest already
	// Unfetchable holds, by launcher, why its packages could not be fetched.
	// A caller whose fetch has failed decides again with it.
	Unfetchable map[string]error
	Arch        string // empty: runtime.GOARCH
}

// Features are those that the choice itself wants probed, beside the needed.
func Features() []string { return []string{probe.Ptrace, probe.TmpExec} }

// Decision is where the command runs.
type Decision struct {
	Launcher string          `json:"launcher"`         // Host, image.UML or image.QEMU
	Kernel   *image.Kernel   `json:"kernel,omitempty"` // the guest's; nil on the host, and while it is to be fetched
	Fetch    []image.Package `json:"fetch,omitempty"`  // to be fetched first
	Reasons  []string        `json:"reasons"`          // for each way that was looked at: why not, or why
}

// ImpossibleError says that no way is open, and why for each.
type ImpossibleError struct {
	Setting string
	Reasons []string
	Err     error // what the host's kernel lacks, a *probe.MissingError
}

func (e *ImpossibleError) Error() string {
	s := "no kernel for this"
	if e.Setting != Auto && e.Setting != "" {
		s += " with --kernel " + e.Setting
	}
	return s + ":\n  " + strings.Join(e.Reasons, "\n  ")
}

func (e *ImpossibleError) Unwrap() error { return e.Err }

// Decide picks the first way that is open: the host if it has what is needed,
// else user-mode Linux, which is ready soonest, else QEMU. A setting restricts
// the choice to one. It is an *ImpossibleError when none is open.
func Decide(in Input) (Decision, error) {
	if in.Setting == "" {
		in.Setting = Auto
	}
	if in.Arch == "" {
		in.Arch = runtime.GOARCH
	}
	lacks := in.Report.Require(in.Need...)
	var d Decision
	for _, way := range in.ways() {
		kernel, fetch, why := in.consider(way, lacks)
		d.Reasons = append(d.Reasons, why.text)
		if why.open {
			d.Launcher, d.Kernel, d.Fetch = way, kernel, fetch
			return d, nil
		}
	}
	return Decision{}, &ImpossibleError{Setting: in.Setting, Reasons: d.Reasons, Err: lacks}
}

// ways are what the setting leaves to choose from, the preferred first. In a
// guest the setting has had its effect: it came in with the environment.
func (in Input) ways() []string {
	if in.InGuest {
		return []string{Host}
	}
	switch in.Setting {
	case Auto:
		return []string{Host, image.UML, image.QEMU}
	case Host, image.UML, image.QEMU:
		return []string{in.Setting}
	default: // a path: what is there decides
		if len(in.Kernels) == 0 {
			return []string{image.QEMU}
		}
		return []string{in.Kernels[0].Launcher}
	}
}

// verdict is whether a way is open, and a sentence why.
type verdict struct {
	open bool
	text string
}

func refuse(way, format string, args ...any) verdict {
	return verdict{text: "not " + way + ": " + fmt.Sprintf(format, args...)}
}

func take(way, format string, args ...any) verdict {
	return verdict{open: true, text: way + ": " + fmt.Sprintf(format, args...)}
}

// consider judges one way.
func (in Input) consider(way string, lacks error) (*image.Kernel, []image.Package, verdict) {
	switch {
	case way == Host:
		return nil, nil, in.considerHost(lacks)
	case way == image.UML:
		if v := in.umlPossible(); !v.open {
			return nil, nil, v
		}
	}
	kernel, fetch := in.pick(way)
	if len(fetch) > 0 {
		if err := in.Unfetchable[way]; err != nil {
			return nil, nil, refuse(way, "%v", err)
		}
		return kernel, fetch, take(way, "%s to be fetched first%s", names(fetch), in.unfit(way))
	}
	return kernel, nil, take(way, "%s", kernel)
}

func (in Input) considerHost(lacks error) verdict {
	var missing *probe.MissingError
	switch {
	case errors.As(lacks, &missing):
		return refuse(Host, "%v", missing)
	case len(in.Need) == 0:
		return take(Host, "nothing special is needed")
	default:
		return take(Host, "kernel %s has %s", in.Report.Kernel, strings.Join(in.Need, " "))
	}
}

// umlPossible says whether this host can run user-mode Linux.
func (in Input) umlPossible() verdict {
	if in.Arch != "amd64" {
		return refuse(image.UML, "user-mode Linux is packaged for x86-64 only, this is %s", in.Arch)
	}
	for _, name := range Features() {
		if f := in.Report.Get(name); f.State == probe.No {
			return refuse(image.UML, "it takes %s (%s): %s", f.Name, f.Why, f.Remedy)
		}
	}
	return verdict{open: true}
}

// pick is the kernel for the launcher, and what must be fetched.
func (in Input) pick(launcher string) (*image.Kernel, []image.Package) {
	i := slices.IndexFunc(in.Kernels, func(k image.Kernel) bool { return k.Launcher == launcher && k.Unfit == "" })
	var fetch []image.Package
	var kernel *image.Kernel
	if i >= 0 {
		kernel = &in.Kernels[i]
	}
	for _, p := range image.Packages(launcher) {
		emulator := p == image.Emulator()
		if emulator && in.Emulator != nil || !emulator && kernel == nil {
			fetch = append(fetch, p)
		}
	}
	return kernel, fetch
}

// unfit tells of kernels that are there but can't be used, lest a user wonder.
func (in Input) unfit(launcher string) string {
	var out []string
	for _, k := range in.Kernels {
		if k.Launcher == launcher && k.Unfit != "" {
			out = append(out, filepath.Base(k.Path)+" is "+k.Unfit)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}

func names(packages []image.Package) string {
	var out []string
	for _, p := range packages {
		out = append(out, p.Name)
	}
	return strings.Join(out, " and ")
}
