package launch

import (
	"context"
	"fmt"
	"os"

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/internal/guest/choose"
)

// boot runs the command line in a new guest, or in one that serves this directory already.
func (l *Launcher) boot(ctx context.Context, d choose.Decision, r Request) error {
	k := d.Kernel
	o := guest.Options{Launcher: k.Launcher, Kernel: k.Path, ModulesDir: k.Modules, Writable: r.Writable, Note: l.note}
	cmd, err := l.command(r)
	if err != nil {
		return err
	}
	// A signal goes to the command in the guest, whose end is awaited.
	ctx = context.WithoutCancel(ctx)
	if !r.Background {
		return status(guest.Run(ctx, o, cmd))
	}
	g, err := l.background(ctx, o)
	if err != nil {
		return err
	}
	return status(g.Run(ctx, cmd))
}

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
