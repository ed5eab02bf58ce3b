package guest

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/ipvslab/ipvslab/internal/guest/session"
)

// Command is a command to run in a guest.
type Command struct {
	Argv []string
	Env  []string // nil: this process's
	Dir  string   // empty: the current directory
	// Stdin, Stdout and Stderr are the streams; nil: empty, dropped. If Stdin and
	// Stdout are files that are terminals, the command gets a terminal too.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
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
	i, booted, err := launch(ctx, o)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, i.stop()) }()
	return attach(cmd, func(c session.Command) (int, error) { return i.run(ctx, booted, c) })
}

// attach connects this process's terminal and signals to a command and runs it.
func attach(cmd Command, run func(session.Command) (int, error)) (int, error) {
	c := session.Command{Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr}
	c.Argv, c.Env, c.Dir = cmd.Argv, cmd.Env, cmd.Dir
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return -1, err
		}
		c.Dir = dir
	}
	return run(c)
}
