package ipvsadm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipvslab/ipvslab/lb"
)

// Env is what a command line works with.
type Env struct {
	Table lb.Table
	// Conns reads the connection entries of the table's namespace; nil: the
	// Table's own method of that name and form, if it has one.
	Conns func(context.Context) ([]lb.Conn, error)
	Names Names // nil: /etc/hosts and /etc/services

	Stdin          io.Reader // nil: empty
	Stdout, Stderr io.Writer // nil: discarded
	// Hints adds to a message what may be wrong and what to do. Set it only if
	// Stderr is a terminal: without it the bytes are the original's.
	Hints bool
}

// Run carries out a command line, argv[0] being the program's name, and gives
// the exit status: 0, 1 (a listing failed), 2 (usage) or 255 (the kernel refused).
func Run(ctx context.Context, env Env, argv []string) int {
	if len(argv) == 0 {
		argv = []string{"ipvsadm"}
	}
	t := newTool(env, argv[0])
	status := t.main(ctx, argv)
	if t.writeErr != nil {
		fmt.Fprintf(t.Stderr, "%s: write: %v\n", t.program, t.writeErr)
		return statusFailed
	}
	return status
}

// tool is a Run in progress.
type tool struct {
	Env
	program  string
	info     lb.Info
	writeErr error // the first failure to write to Stdout
}

func newTool(env Env, program string) *tool {
	t := &tool{Env: env, program: program}
	if own, ok := t.Table.(interface {
		Conns(context.Context) ([]lb.Conn, error)
	}); ok && t.Conns == nil {
		t.Conns = own.Conns
	}
	if t.Names == nil {
		t.Names = &Files{}
	}
	if t.Stdin == nil {
		t.Stdin = eof{}
	}
	if t.Stdout == nil {
		t.Stdout = io.Discard
	}
	if t.Stderr == nil {
		t.Stderr = io.Discard
	}
	return t
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// main asks for IPVS first, whatever the command, as the original does.
func (t *tool) main(ctx context.Context, argv []string) int {
	var err error
	if t.info, err = t.Table.Info(ctx); err != nil {
		t.complain("Can't initialize ipvs: " + messageFor(NoVerb, err) +
			"\nAre you sure that IP Virtual Server is built in the kernel or as module?")
		return statusUsage
	}
	if len(argv) == 1 {
		return t.listServices(ctx, Command{Verb: List})
	}
	cmd, err := Parse(argv, t.Names)
	if err != nil {
		status, _ := t.refuse(err)
		return status
	}
	return t.do(ctx, cmd)
}

// do carries out one command.
func (t *tool) do(ctx context.Context, cmd Command) int {
	switch cmd.Verb {
	case Help:
		t.print(io.WriteString(t.Stdout, usageFor(t.program)))
		return statusOK
	case Version:
		t.print(io.WriteString(t.Stdout, versionLine))
		return statusOK
	case List:
		return t.list(ctx, cmd)
	case Save:
		return t.listServices(ctx, cmd)
	case Restore:
		if cmd.Checked {
			return t.restoreChecked(ctx)
		}
		return t.restore(ctx, t.Stdin)
	case Check:
		return t.check(cmd.File)
	}
	return t.result(ctx, cmd, t.write(ctx, cmd))
}

// write makes the one change that cmd asks for.
func (t *tool) write(ctx context.Context, cmd Command) error {
	if change, ok := cmd.Change(); ok {
		return t.Table.Apply(ctx, change)
	}
	switch cmd.Verb {
	case Zero:
		if s := cmd.Service; s.FWMark != 0 || s.Port != 0 || s.Addr.IsValid() && !s.Addr.IsUnspecified() {
			return t.Table.Zero(ctx, s.Key)
		}
		return t.Table.Zero(ctx) // also for 0.0.0.0 without a port
	case SetTimeouts:
		return t.Table.SetTimeouts(ctx, cmd.Timeouts)
	case StartDaemon:
		return t.Table.StartDaemon(ctx, cmd.Daemon)
	case StopDaemon:
		return t.Table.StopDaemon(ctx, cmd.Daemon.Role)
	}
	return fmt.Errorf("command %s is not carried out", cmd.Verb)
}

// Change is the write to a table that the command stands for, if it is one.
func (c Command) Change() (lb.Change, bool) {
	op, ok := map[Verb]lb.Op{
		AddService: lb.AddService, EditService: lb.EditService, DeleteService: lb.DeleteService, Flush: lb.Flush,
		AddDest: lb.AddDestination, EditDest: lb.EditDestination, DeleteDest: lb.DeleteDestination,
	}[c.Verb]
	return lb.Change{Op: op, Service: c.Service, Destination: c.Dest}, ok
}

// result reports the error of a write.
func (t *tool) result(ctx context.Context, cmd Command, err error) int {
	if err == nil {
		return statusOK
	}
	m := messageFor(cmd.Verb, err)
	if t.Hints {
		m += t.hint(ctx, cmd, err)
	}
	t.complain(m)
	return statusKernel
}

// refuse reports a command line that is wrong, and tells whether the program ends.
func (t *tool) refuse(err error) (status int, ends bool) {
	t.complain(err.Error())
	var u *UsageError
	if errors.As(err, &u) {
		return u.Status, u.Ends
	}
	return statusUsage, true
}

func (t *tool) complain(message string) {
	// Nothing can be done about a standard error that can't be written to.
	_, _ = io.WriteString(t.Stderr, message+"\n")
}

// print keeps the first error of writing to standard output.
func (t *tool) print(_ int, err error) {
	if t.writeErr == nil {
		t.writeErr = err
	}
}
