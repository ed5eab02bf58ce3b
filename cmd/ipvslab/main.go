// Command ipvslab builds network-namespace labs for LVS/IPVS and proves what
// they do. This package reads flags and hands streams on; what a command does
// is in the packages that it calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	_ "github.com/ipvslab/ipvslab/internal/guest/entry" // this process may be a guest's init or supervisor
	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
)

// Exit statuses, beside those of commands that exec and run pass on.
const (
	exitFailed = 1 // it did not work, or a verdict is negative
	exitUsage  = 2 // the command line or the file was wrong, nothing was touched
)

func main() {
	lab.Hook("ipvsadm", "ipvsadm-save", "ipvsadm-restore") // this process may be a command on its way into a node, or a lab's agent
	ctx, stop := interruptible()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if name := filepath.Base(os.Args[0]); programs[name] != nil {
		os.Exit(a.ipvsadm(ctx, name, os.Args[1:]))
	}
	err := newRoot(a).ExecuteContext(ctx)
	var by interrupted
	errors.As(context.Cause(ctx), &by)
	stop()
	os.Exit(a.report(err, by))
}

// interrupted is the signal that ended the context, 0 if none did.
type interrupted syscall.Signal

func (i interrupted) Error() string { return syscall.Signal(i).String() }

// interruptible is a context that ends with the first signal that asks for it.
// Later ones change nothing: what was begun is being undone.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		s, ok := (<-signals).(syscall.Signal)
		if ok {
			cancel(interrupted(s))
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// usageError is a mistake in the command line or in a file that it names.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report tells the user of a failure and picks the exit status.
func (a *app) report(err error, by interrupted) int {
	var status launch.ExitStatus
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case by != 0:
		fmt.Fprintf(a.err, "ipvslab: %v: %v\n", by, err)
		return 128 + int(by)
	}
	fmt.Fprintln(a.err, "ipvslab:", err)
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}
