package ipvsadm

import (
	"context"
	"errors"
	"io"
	"io/fs"
)

// list carries out -L.
func (t *tool) list(ctx context.Context, cmd Command) int {
	switch {
	case cmd.Subject == OfConnections:
		return t.listConns(ctx, cmd.Format)
	case cmd.HasService:
		s, err := t.Table.Get(ctx, cmd.Service.Key)
		if err != nil {
			return t.listFailed(ctx, cmd, err)
		}
		t.print(0, PrintService(t.Stdout, s, cmd.Format, t.Names))
	case cmd.Subject == OfTimeouts:
		timeouts, err := t.Table.Timeouts(ctx)
		if err != nil {
			return statusFailed // the original says nothing here
		}
		t.print(0, PrintTimeouts(t.Stdout, timeouts))
	case cmd.Subject == OfDaemons:
		daemons, err := t.Table.Daemons(ctx)
		if err != nil {
			return statusFailed // nor here
		}
		t.print(0, PrintDaemons(t.Stdout, daemons))
	default:
		return t.listServices(ctx, cmd)
	}
	return statusOK
}

// listServices carries out -L without a service, and -S.
func (t *tool) listServices(ctx context.Context, cmd Command) int {
	services, err := t.Table.List(ctx)
	if err != nil {
		t.print(0, PrintVersion(t.Stdout, t.info, cmd.Format))
		return t.listFailed(ctx, cmd, err)
	}
	t.print(0, PrintTable(t.Stdout, t.info, services, cmd.Format, t.Names))
	return statusOK
}

func (t *tool) listFailed(ctx context.Context, cmd Command, err error) int {
	t.result(ctx, cmd, err)
	return statusFailed
}

func (t *tool) listConns(ctx context.Context, f Format) int {
	if t.Conns == nil {
		t.complain("cannot open file " + ConnFile)
		return statusFailed
	}
	conns, err := t.Conns(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.complain("cannot open file " + ConnFile)
		return statusFailed
	case errors.Is(err, io.ErrUnexpectedEOF):
		t.complain("unexpected input from " + ConnFile)
		return statusFailed
	case err != nil:
		t.complain(err.Error())
		return statusFailed
	}
	t.print(0, PrintConns(t.Stdout, conns, f, t.Names))
	return statusOK
}
