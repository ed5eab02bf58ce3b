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

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
)

// Exit statuses, beside those of commands that exec and run pass on.
const (
	exitFailed = 1 // it did not work, or a verdict is negative
	exitUsage  = 2 // the command line or the file was wrong, nothing was touched
)

func main() {
	guest.Hook() // this process may be a guest's init or supervisor,
	lab.Hook()   // a command on its way into a node, or a lab's agent
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if name := filepath.Base(os.Args[0]); programs[name] != nil {
		os.Exit(a.ipvsadm(ctx, name, os.Args[1:]))
	}
	err := newRoot(a).ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	os.Exit(a.report(err, interrupted))
}

// usageError is a mistake in the command line or in a file that it names.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report tells the user of a failure and picks the exit status.
func (a *app) report(err error, interrupted bool) int {
	var status launch.ExitStatus
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case interrupted:
		fmt.Fprintln(a.err, "ipvslab: interrupted:", err)
		return 128 + int(syscall.SIGINT)
	}
	fmt.Fprintln(a.err, "ipvslab:", err)
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}
