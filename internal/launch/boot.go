package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/internal/guest/choose"
	"github.com/ipvslab/ipvslab/internal/guest/image"
)

// boot runs the command line in a new guest, or in one that serves this directory already.
func (l *Launcher) boot(ctx context.Context, d choose.Decision, r Request) error {
	k := d.Kernel
	o := guest.Options{Launcher: k.Launcher, Kernel: k.Path, ModulesDir: k.Modules, Features: r.Need, Writable: r.Writable, Note: l.note}
	cmd, err := l.command(ctx, r)
	if err != nil {
		return err
	}
	if !r.Background {
		s, err := guest.Run(context.WithoutCancel(ctx), o, cmd)
		return l.status(s, damaged(err, k.Path))
	}
	for range retries {
		g, err := l.background(ctx, o)
		if err != nil {
			return damaged(err, k.Path)
		}
		s, err := g.Run(context.WithoutCancel(ctx), cmd)
		if errors.Is(err, guest.ErrNoGuest) {
			continue // it ended between two lines, since it held no lab
		}
		if err != nil || s != 0 {
			g.Leave()
		}
		return l.status(s, err)
	}
	return fmt.Errorf("run in guest: %w", errUnsteady)
}

// retries bound how often a guest is looked for again that others end.
const retries = 5

var errUnsteady = errors.New("guests come and go; is somebody taking labs down all the time?")

// background is the guest of this kernel that may write this directory, booted
// unless there is one.
func (l *Launcher) background(ctx context.Context, o guest.Options) (*guest.Guest, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	live, err := l.guests()
	if err != nil {
		return nil, err
	}
	for _, g := range live {
		if g.Launcher == o.Launcher && g.Kernel == o.Kernel && g.Dir == dir {
			return g, nil
		}
	}
	return guest.Start(ctx, o)
}

// damaged says what to do about a fetched kernel that does not even begin, or
// panics before the guest is ready.
func damaged(err error, kernel string) error {
	if err == nil {
		return nil
	}
	var died *guest.DiedError
	mute, panicked := false, false
	if errors.As(err, &died) {
		mute = strings.TrimSpace(died.Console) == "" && !strings.Contains(err.Error(), "signal:")
		panicked = died.Booting && strings.Contains(died.Console, "Kernel panic")
	}
	// These come from another process, as text.
	unstarted := strings.Contains(err.Error(), unix.ENOEXEC.Error()) || strings.Contains(err.Error(), unix.EACCES.Error())
	if !mute && !panicked && !unstarted {
		return err
	}
	cache, cerr := image.CacheDir()
	if cerr != nil {
		return err
	}
	fetched := filepath.Join(cache, "kernels") + "/"
	rest, ok := strings.CutPrefix(kernel, fetched)
	if !ok {
		return err
	}
	name, _, _ := strings.Cut(rest, "/")
	return fmt.Errorf("%w\nthe fetched kernel may be damaged: remove %s and run it again, so that it is fetched anew", err, fetched+name)
}
