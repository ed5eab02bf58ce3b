package choose

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/probe"
)

// Gather finds out what Decide wants to know: it probes the running kernel for
// the needed features and looks for kernels. inGuest says that this is a guest.
func Gather(ctx context.Context, setting string, need []string, inGuest bool) (Input, error) {
	in := Input{Setting: setting, Need: need, InGuest: inGuest}
	in.Report = probe.Only(ctx, slices.Concat(need, Features())...)
	if inGuest || setting == Host || in.hostWillDo() {
		return in, nil // spare the search
	}
	return in, in.look(ctx)
}

// hostWillDo says that Decide will pick the host, whatever else there is.
func (in Input) hostWillDo() bool {
	return (in.Setting == Auto || in.Setting == "") && len(in.Report.Missing(in.Need...)) == 0
}

// look finds kernels and the emulator.
func (in *Input) look(ctx context.Context) error {
	var want image.Want
	switch in.Setting {
	case "", Auto:
	case image.UML, image.QEMU:
		want.Launcher = in.Setting
	default:
		want.Path = in.Setting
	}
	var err error
	if in.Kernels, err = image.Find(ctx, want); err != nil {
		return err
	}
	_, in.Emulator = image.FindQEMU("")
	return nil
}

// Settle decides and fetches what the decision calls for, saying so on
// progress. Where fetching fails and the setting leaves another way, it takes
// that. The decision returned has a kernel and nothing to fetch.
func Settle(ctx context.Context, in Input, progress io.Writer) (Decision, error) {
	fetch := func(p image.Package) error {
		_, err := image.Fetch(ctx, p, progress)
		return err
	}
	return settle(ctx, in, fetch, func(in *Input) error { return in.look(ctx) })
}

// errStillMissing says that a fetch went well and yet did not help.
var errStillMissing = errors.New("what was fetched can't be found again in the cache")

func settle(ctx context.Context, in Input, fetch func(image.Package) error, look func(*Input) error) (Decision, error) {
	in.Unfetchable = maps.Clone(in.Unfetchable)
	if in.Unfetchable == nil {
		in.Unfetchable = map[string]error{}
	}
	tried := map[string]bool{}
	for {
		d, err := Decide(in)
		if err != nil || len(d.Fetch) == 0 {
			return d, err
		}
		if tried[d.Launcher] {
			in.Unfetchable[d.Launcher] = errStillMissing
			continue
		}
		tried[d.Launcher] = true
		if err := fetchAll(d.Fetch, fetch); err != nil {
			in.Unfetchable[d.Launcher] = err
		} else if err := look(&in); err != nil {
			return Decision{}, err
		}
		if ctx.Err() != nil {
			return Decision{}, ctx.Err()
		}
	}
}

func fetchAll(packages []image.Package, fetch func(image.Package) error) error {
	for _, p := range packages {
		if err := fetch(p); err != nil {
			return err
		}
	}
	return nil
}
