package guest

import (
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/ipvslab/ipvslab/internal/guest/session"
)

// Command is a command to run in a guest.
type Command struct {
	Argv []string
	Env  []string // nil: this process's
	Dir  string   // empty: the current directory
	// Stdin, Stdout and Stderr are the streams; nil: empty, dropped. If Stdin and
	// Stdout are files that are terminals, the command gets a terminal too. Else SIGINT,
	// SIGTERM, SIGHUP and SIGQUIT that this process gets go to the command.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Cancelled, if not nil, is asked once signals go to the command and before
	// anything is done for it; its error calls the command off. So a caller that takes
	// signals itself until then loses none.
	Cancelled func() error
}

// Run boots a guest, runs one command in it and ends the guest. The status is
// the command's exit status, 128 plus the signal if one killed it. A lost guest is a
// *[DiedError]; a command that cannot be started is a *[session.StartError] with
// the shell's status for that.
func Run(ctx context.Context, o Options, cmd Command) (status int, err error) {
	o, err = o.fill()
	if err != nil {
		return -1, err
	}
	return attach(cmd, func(c session.Command, begin func() error) (status int, err error) {
		i, err := launch(ctx, o)
		if err != nil {
			return -1, err
		}
		defer func() { err = errors.Join(err, i.stop()) }()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		// While it boots nothing can be told to it; and it ends with the command anyway.
		stop := context.AfterFunc(ctx, func() { _ = i.machine.Kill() })
		defer stop()
		c.Signals = untilBooted(i.ready, c.Signals, begin, func(err error) { cancel(err) })
		told := o.tellSlow()
		defer told()
		go func() { <-i.ready; told() }()
		status, err = i.run(ctx, c)
		var s interrupted
		if errors.As(context.Cause(ctx), &s) {
			return 128 + int(s), nil
		}
		if err != nil && ctx.Err() != nil {
			err = ctx.Err()
		}
		return status, err
	})
}

// interrupted is the cause of a boot that the user broke off.
type interrupted syscall.Signal

func (s interrupted) Error() string { return syscall.Signal(s).String() }

// untilBooted aborts on a signal while the guest boots. Then it begins, and passes signals on.
func untilBooted(booted <-chan struct{}, in <-chan syscall.Signal, begin func() error, abort func(error)) <-chan syscall.Signal {
	out := make(chan syscall.Signal, 16)
	go func() {
		select {
		case s := <-in:
			abort(interrupted(s))
			return
		case <-booted:
		}
		if err := begin(); err != nil {
			abort(err)
			return
		}
		for s := range in {
			out <- s
		}
	}()
	return out
}
