package choose

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/probe"
)

// bare is a host without IPVS and with nothing at hand.
func bare(t *testing.T) Input {
	t.Helper()
	if !image.UMLPossible() {
		t.Skip("the order of the ways is that of x86-64")
	}
	return Input{Need: []string{"ipvs"}, Emulator: image.ErrNoEmulator, Report: probe.Report{Features: []probe.Feature{
		{Name: probe.Ptrace, State: probe.Yes}, {Name: probe.TmpExec, State: probe.Yes},
	}}}
}

func TestSettleFetchesAndFinds(t *testing.T) {
	var fetched []string
	fetch := func(p image.Package) error {
		fetched = append(fetched, p.Name)
		return nil
	}
	d, err := settle(t.Context(), bare(t), fetch, func(in *Input) error {
		in.Kernels = []image.Kernel{{Launcher: image.UML, Path: "/c/linux.uml"}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d.Launcher != image.UML || d.Kernel == nil || len(d.Fetch) > 0 {
		t.Errorf("settled on %+v", d)
	}
	if diff := cmp.Diff([]string{"user-mode-linux"}, fetched); diff != "" {
		t.Errorf("fetched (-want +got):\n%s", diff)
	}
}

func TestSettleTriesEachWayOnce(t *testing.T) {
	failed := errors.New("no network")
	tests := map[string]struct {
		setting string
		err     error // of each fetch; nil: it says it went well, but nothing comes
		want    []string
	}{
		"fetching fails":            {Auto, failed, []string{"user-mode-linux", image.Packages(image.QEMU)[0].Name}},
		"fetching helps nothing":    {image.UML, nil, []string{"user-mode-linux"}},
		"one way only, which fails": {image.UML, failed, []string{"user-mode-linux"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := bare(t)
			in.Setting = tt.setting
			var asked []string
			_, err := settle(t.Context(), in, func(p image.Package) error {
				asked = append(asked, p.Name)
				return tt.err
			}, func(*Input) error { return nil })
			var impossible *ImpossibleError
			if !errors.As(err, &impossible) {
				t.Errorf("error %v, want an *ImpossibleError", err)
			}
			if diff := cmp.Diff(tt.want, asked); diff != "" {
				t.Errorf("fetched (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGatherOnThisMachine(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	in, err := Gather(t.Context(), "", []string{"no-such-feature"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if f := in.Report.Get(probe.Ptrace); f.Why == "not probed" {
		t.Error("what the choice itself wants was not probed")
	}
	if _, err := Gather(t.Context(), "/no/such/kernel", []string{"no-such-feature"}, false); err == nil {
		t.Error("a path without a kernel gave no error")
	}
}
