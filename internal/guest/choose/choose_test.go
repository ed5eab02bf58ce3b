package choose

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/probe"
)

func TestDecide(t *testing.T) {
	feature := func(name string, s probe.State) probe.Feature {
		f := probe.Feature{Name: name, State: s}
		if s != probe.Yes {
			f.Why, f.Remedy = name+" is not there", "mend "+name
		}
		return f
	}
	report := func(ipvs, ptrace, tmp probe.State) probe.Report {
		return probe.Report{Kernel: "6.6", Features: []probe.Feature{
			feature("ipvs", ipvs), feature(probe.Ptrace, ptrace), feature(probe.TmpExec, tmp), feature("link:veth", probe.Yes),
		}}
	}
	full := report(probe.Yes, probe.Yes, probe.Yes)
	bare := report(probe.No, probe.Yes, probe.Yes)
	noPtrace := report(probe.No, probe.No, probe.Yes)
	uml := image.Kernel{Launcher: image.UML, Path: "/c/linux.uml", Release: "6.1.1", Origin: "cache"}
	qemu := image.Kernel{Launcher: image.QEMU, Path: "/c/vmlinuz", Release: "6.1.2", Origin: "cache"}
	cloud := image.Kernel{Launcher: image.QEMU, Path: "/boot/vmlinuz-cloud", Origin: "installed", Unfit: "built without 9p"}
	own := image.Kernel{Launcher: image.UML, Path: "/mine/linux", Release: "6.9", Origin: "path"}
	need := []string{"ipvs", "link:veth"}

	tests := map[string]struct {
		in      Input
		want    string // launcher; empty: impossible
		kernel  string // its path
		fetch   string
		reasons []string // each must occur, in this order
	}{
		"the host can": {
			Input{Report: full, Need: need, Kernels: []image.Kernel{uml}},
			Host, "", "",
			[]string{"host: kernel 6.6 has ipvs link:veth"},
		},
		"nothing is needed": {Input{Report: bare}, Host, "", "", []string{"nothing special"}},
		"the host can't": {
			Input{Report: bare, Need: need, Kernels: []image.Kernel{qemu, uml}},
			image.UML, "/c/linux.uml", "",
			[]string{"not host: kernel 6.6 lacks ipvs", "mend ipvs", "uml: uml 6.1.1"},
		},
		"nothing at hand": {
			Input{Report: bare, Need: need, Emulator: image.ErrNoEmulator},
			image.UML, "", "user-mode-linux",
			[]string{"to be fetched first"},
		},
		"ptrace is forbidden": {
			Input{Report: noPtrace, Need: need, Kernels: []image.Kernel{uml, qemu}},
			image.QEMU, "/c/vmlinuz", "",
			[]string{"not uml: it takes ptrace", "mend ptrace", "qemu: qemu 6.1.2"},
		},
		"no executable tmp": {
			Input{Report: report(probe.No, probe.Yes, probe.No), Need: need, Kernels: []image.Kernel{uml, qemu}},
			image.QEMU, "/c/vmlinuz", "",
			[]string{"not uml: it takes tmp:exec"},
		},
		"not known is not refused": {Input{Report: report(probe.Unknown, probe.Unknown, probe.Unknown), Need: need, Kernels: []image.Kernel{uml}}, image.UML, "/c/linux.uml", "", nil},
		"another architecture": {
			Input{Arch: "riscv64", Report: bare, Need: need, Kernels: []image.Kernel{qemu}},
			image.QEMU, "/c/vmlinuz", "",
			[]string{"x86-64 only, this is riscv64"},
		},
		"the emulator is missing": {Input{Setting: image.QEMU, Report: bare, Need: need, Kernels: []image.Kernel{qemu}, Emulator: image.ErrNoEmulator}, image.QEMU, "/c/vmlinuz", image.Emulator().Name, nil},
		"a kernel that won't do": {
			Input{Setting: image.QEMU, Report: bare, Need: need, Kernels: []image.Kernel{cloud}},
			image.QEMU, "", image.Packages(image.QEMU)[0].Name,
			[]string{"vmlinuz-cloud is built without 9p"},
		},
		"fetching failed, another way": {
			Input{Report: bare, Need: need, Kernels: []image.Kernel{qemu}, Unfetchable: map[string]error{image.UML: errors.New("no network")}},
			image.QEMU, "/c/vmlinuz", "",
			[]string{"not uml: no network", "qemu: "},
		},
		"fetching failed, no other": {
			Input{Report: bare, Need: need, Unfetchable: map[string]error{image.UML: errors.New("no network"), image.QEMU: errors.New("still none")}},
			"", "", "",
			[]string{"not host", "not uml: no network", "not qemu: still none"},
		},
		"told to use the host": {
			Input{Setting: Host, Report: bare, Need: need, Kernels: []image.Kernel{uml}},
			"", "", "",
			[]string{"--kernel host", "not host: kernel 6.6 lacks ipvs"},
		},
		"told to use UML though the host can": {Input{Setting: image.UML, Report: full, Need: need, Kernels: []image.Kernel{qemu, uml}}, image.UML, "/c/linux.uml", "", nil},
		"told to use UML without ptrace": {
			Input{Setting: image.UML, Report: noPtrace, Need: need, Kernels: []image.Kernel{uml, qemu}},
			"", "", "",
			[]string{"--kernel uml", "it takes ptrace"},
		},
		"a kernel of one's own":                     {Input{Setting: "/mine/linux", Report: full, Need: need, Kernels: []image.Kernel{own}}, image.UML, "/mine/linux", "", nil},
		"a kernel of one's own, no emulator":        {Input{Setting: "/c/vmlinuz", Report: full, Need: need, Kernels: []image.Kernel{qemu}, Emulator: image.ErrNoEmulator}, image.QEMU, "/c/vmlinuz", image.Emulator().Name, nil},
		"in a guest that has it":                    {Input{InGuest: true, Report: full, Need: need}, Host, "", "", nil},
		"in a guest that has it, told from outside": {Input{InGuest: true, Setting: image.UML, Report: full, Need: need}, Host, "", "", nil},
		"in a guest that lacks it": {
			Input{InGuest: true, Report: bare, Need: need, Kernels: []image.Kernel{uml, qemu}},
			"", "", "",
			[]string{"not host"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.in.Arch == "" {
				tt.in.Arch = "amd64"
			}
			d, err := Decide(tt.in)
			text := strings.Join(d.Reasons, "\n")
			var impossible *ImpossibleError
			switch {
			case tt.want == "" && !errors.As(err, &impossible):
				t.Fatalf("decided %+v, %v; want an *ImpossibleError", d, err)
			case tt.want == "":
				text = err.Error()
			case err != nil:
				t.Fatal(err)
			}
			if d.Launcher != tt.want {
				t.Errorf("launcher %q, want %q", d.Launcher, tt.want)
			}
			if path := kernelPath(d); path != tt.kernel {
				t.Errorf("kernel %q, want %q", path, tt.kernel)
			}
			if f := names(d.Fetch); f != tt.fetch {
				t.Errorf("fetches %q, want %q", f, tt.fetch)
			}
			rest := text
			for _, r := range tt.reasons {
				_, after, ok := strings.Cut(rest, r)
				if !ok {
					t.Errorf("reasons lack %q (in this order):\n%s", r, text)
					break
				}
				rest = after
			}
		})
	}
}

func TestImpossibleTellsWhatTheHostLacks(t *testing.T) {
	_, err := Decide(Input{Setting: Host, Need: []string{"ipvs"}})
	var missing *probe.MissingError
	if !errors.As(err, &missing) || missing.Missing[0].Name != "ipvs" {
		t.Errorf("error %v holds no *probe.MissingError about ipvs", err)
	}
}

func kernelPath(d Decision) string {
	if d.Kernel == nil {
		return ""
	}
	return d.Kernel.Path
}
