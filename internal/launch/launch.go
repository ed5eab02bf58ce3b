// Package launch decides where a command runs and runs it there: in this
// kernel if it will do, in the guest that holds the command's lab, or in a
// guest booted for it. In a guest the same binary runs the same command line,
// gets here again, and finds that this kernel will do.
//
// The package knows which labs exist where, but nothing of what is in them.
// Nothing but the command line imports it.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/internal/guest/choose"
	"github.com/ipvslab/ipvslab/internal/guest/session"
	"github.com/ipvslab/ipvslab/lab"
)

// ExitStatus is the exit status of a command that was run for the user: not a
// failure of ours, to be passed on without a word.
type ExitStatus int

func (s ExitStatus) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// Launcher says where commands may run, and with which streams.
type Launcher struct {
	Selection string // auto (the default), host, uml, qemu, or a kernel's path
	In        io.Reader
	Out, Err  io.Writer
}

// Request says what a command needs.
type Request struct {
	// Need lists the features (see package probe) that the kernel must have.
	Need []string
	// Lab is the existing lab that the command is about: it runs where that
	// lab is. Nowhere is ErrNotExist if it must exist, else this kernel.
	Lab       string
	MustExist bool
	// Ends tells that the command ends its lab: a guest without another is waited out.
	Ends bool
	// NewLab is the lab that the command will make; it must exist nowhere,
	// unless Join lets the command run where it is.
	NewLab string
	Join   bool
	// Background lets the guest live on as long as there is a lab in it.
	Background bool
	// Writable are directories that the command must be able to write, beside
	// the working directory.
	Writable []string
	// Argv is the command line for the guest, without the program; nil: this process's.
	Argv []string
	// Program runs instead of this binary, with Argv as its whole command line.
	Program bool
}

// Inside says whether this process is in a guest already: then this kernel it is.
func Inside() bool { return os.Getenv(guest.EnvGuest) != "" }

// Run runs native here, or the command line in a guest.
func (l *Launcher) Run(ctx context.Context, r Request, native func(context.Context) error) error {
	if Inside() {
		return native(ctx)
	}
	if r.NewLab != "" && r.Background {
		// Guests don't know of each other: two could make labs of one name at once.
		done := l.slow("waiting for another process that makes lab " + r.NewLab)
		release, err := guest.Reserve(ctx, r.NewLab)
		done()
		if err != nil {
			return err
		}
		defer release()
	}
	for range retries {
		g, here, err := l.locate(r)
		if err != nil {
			return err
		}
		if here {
			return native(ctx)
		}
		if g == nil {
			return l.anywhere(ctx, r, native)
		}
		err = l.attach(ctx, g, r)
		var died *guest.DiedError
		gone := errors.Is(err, guest.ErrNoGuest) || !r.MustExist && errors.As(err, &died)
		if !gone {
			return err
		}
		// It went away under our hands. The next look tells the user.
	}
	return fmt.Errorf("run in guest: %w", errUnsteady)
}

// locate finds where the request's lab is: in a guest, here, or nowhere. It
// refuses what must be there and isn't, and the other way round.
func (l *Launcher) locate(r Request) (g *guest.Guest, here bool, err error) {
	for _, name := range []string{r.Lab, r.NewLab} {
		if name == "" {
			continue
		}
		g, here, err = l.find(name)
		var died *guest.DiedError
		if errors.As(err, &died) && !r.MustExist {
			l.note(err.Error()) // the way is clear now
		} else if err != nil {
			return nil, false, err
		}
		switch exists := g != nil || here; {
		case exists && name == r.NewLab && !r.Join:
			return nil, false, fmt.Errorf("bring up lab %s: %w; end it with `ipvslab down %s`, or give the new one another name with --name",
				name, lab.ErrExists, name)
		case exists:
			return g, here, nil
		case name == r.Lab && r.MustExist:
			return nil, false, fmt.Errorf("%w: %s; `ipvslab status` lists those that are up", lab.ErrNotExist, name)
		}
	}
	return nil, false, nil
}

// anywhere runs native here if this kernel will do, else the command line in a
// guest booted for it.
func (l *Launcher) anywhere(ctx context.Context, r Request, native func(context.Context) error) error {
	if len(r.Need) == 0 {
		return native(ctx)
	}
	in, err := choose.Gather(ctx, l.Selection, r.Need, false)
	if err != nil {
		return err
	}
	d, err := choose.Settle(ctx, in, l.Err)
	if err != nil {
		return err
	}
	if d.Launcher == choose.Host {
		return native(ctx)
	}
	return l.boot(ctx, d, r)
}

// find looks for a lab: in a guest, or in this kernel. A guest found dead with
// the lab in it is an error once; nothing is left of it then.
func (l *Launcher) find(name string) (g *guest.Guest, here bool, err error) {
	g, err = guest.Find(name, func(d *guest.DiedError) { l.note(d.Error()) })
	if !errors.Is(err, guest.ErrNoGuest) {
		return g, false, err
	}
	_, err = lab.ReadStatus(name)
	if errors.Is(err, lab.ErrNotExist) {
		return nil, false, nil
	}
	return nil, true, nil // unreadable, too: whoever looks at it says so
}

// attach runs the command line in a guest that is up.
func (l *Launcher) attach(ctx context.Context, g *guest.Guest, r Request) error {
	cmd, err := l.command(ctx, r)
	if err != nil {
		return err
	}
	s, err := g.Run(context.WithoutCancel(ctx), cmd)
	if r.Ends {
		g.Leave()
	}
	return l.status(s, err)
}

// command is the command line as it runs in the guest. A signal goes to it and
// its end is awaited; one that came before it calls it off.
func (l *Launcher) command(ctx context.Context, r Request) (guest.Command, error) {
	argv := r.Argv
	if argv == nil {
		argv = os.Args[1:]
	}
	if !r.Program {
		self, err := os.Executable()
		if err != nil {
			return guest.Command{}, fmt.Errorf("find this program: %w", err)
		}
		argv = append([]string{self}, argv...)
	}
	return guest.Command{
		Argv: argv, Stdin: l.In, Stdout: l.Out, Stderr: l.Err,
		Cancelled: func() error { return context.Cause(ctx) },
	}, nil
}

// status passes on how a command in a guest ended.
func (l *Launcher) status(s int, err error) error {
	var start *session.StartError
	if errors.As(err, &start) {
		l.note(err.Error()) // the status is the shell's for it
	} else if err != nil {
		return err
	}
	if s != 0 {
		return ExitStatus(s)
	}
	return nil
}

// slow tells what is waited for, if it takes longer than a person waits
// without wondering, until the function returned is called.
func (l *Launcher) slow(what string) (done func()) {
	timer := time.AfterFunc(time.Second, func() { l.note(what + " ...") })
	return func() { timer.Stop() }
}

func (l *Launcher) note(s string) { fmt.Fprintln(l.Err, "ipvslab:", s) }
