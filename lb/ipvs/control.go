package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Zero implements lb.Table.
func (t *Table) Zero(ctx context.Context, keys ...lb.Key) error {
	if len(keys) == 0 {
		if err := t.command(ctx, cmdZero, nil); err != nil {
			return fmt.Errorf("zero counters: %w", explain(0, err))
		}
		return nil
	}
	var errs []error
	for _, k := range keys {
		if err := t.command(ctx, cmdZero, keyAttr(k)); err != nil {
			errs = append(errs, fmt.Errorf("zero counters of %s: %w", k, explain(0, err)))
		}
	}
	return errors.Join(errs...)
}

// Info implements lb.Table.
func (t *Table) Info(ctx context.Context) (lb.Info, error) {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return lb.Info{}, err
	}
	defer unlock()
	replies, err := t.conn.query(t.conn.request(cmdGetInfo, 0))
	if err != nil {
		return lb.Info{}, fmt.Errorf("read IPVS information: %w", explain(0, err))
	}
	var info lb.Info
	for _, r := range replies {
		a, err := parseAttrs(r)
		if err != nil {
			return info, fmt.Errorf("read IPVS information: %w", err)
		}
		info.Version, _ = a.uint32(infoVersion)
		info.ConnTableSize, _ = a.uint32(infoTableSize)
	}
	return info, nil
}

// Timeouts implements lb.Table.
func (t *Table) Timeouts(ctx context.Context) (lb.Timeouts, error) {
	ctx, unlock, err := t.begin(ctx)
	if err != nil {
		return lb.Timeouts{}, err
	}
	defer unlock()
	got, err := t.moby.timeouts(ctx)
	if err != nil {
		return got, fmt.Errorf("read timeouts: %w", explain(0, err))
	}
	return got, nil
}

// SetTimeouts implements lb.Table, and reads back what it has set.
func (t *Table) SetTimeouts(ctx context.Context, set lb.Timeouts) error {
	ctx, unlock, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := t.moby.setTimeouts(ctx, set); err != nil {
		return fmt.Errorf("set timeouts: %w", explain(0, err))
	}
	got, err := t.moby.timeouts(ctx)
	if err != nil {
		return fmt.Errorf("read timeouts back: %w", explain(0, err))
	}
	differs := func(set, got time.Duration) bool { return set != 0 && set.Truncate(time.Second) != got }
	if differs(set.TCP, got.TCP) || differs(set.TCPFin, got.TCPFin) || differs(set.UDP, got.UDP) {
		return fmt.Errorf("set timeouts to %+v: %w: %+v", set, lb.ErrNotAsWritten, got)
	}
	return nil
}

// Daemons implements lb.Table.
func (t *Table) Daemons(ctx context.Context) ([]lb.SyncDaemon, error) {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	replies, err := t.conn.query(t.conn.request(cmdGetDaemon, unix.NLM_F_DUMP))
	if err != nil {
		return nil, fmt.Errorf("list sync daemons: %w", explain(0, err))
	}
	var out []lb.SyncDaemon
	for _, r := range replies {
		d, err := decodeDaemon(r)
		if err != nil {
			return nil, fmt.Errorf("list sync daemons: %w", err)
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b lb.SyncDaemon) int { return int(a.Role) - int(b.Role) })
	return out, nil
}

// StartDaemon implements lb.Table.
func (t *Table) StartDaemon(ctx context.Context, d lb.SyncDaemon) error {
	err := t.command(ctx, cmdNewDaemon, daemonAttr(d))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		err = fmt.Errorf("%w (%w)", lb.ErrDaemonRunning, err)
	case errors.Is(err, unix.ENODEV):
		err = fmt.Errorf("no interface %q in this namespace (%w)", d.Interface, err)
	default:
		err = explain(0, err)
	}
	return fmt.Errorf("start sync daemon, %s on %s: %w", d.Role, d.Interface, err)
}

// StopDaemon implements lb.Table.
//
// A daemon that has not run yet when it is stopped is gone, but kthread_stop
// says EINTR of it, and that is the one result netlink_rcv_skb doesn't
// acknowledge. So it is a second message that is to be acknowledged: when it
// has been, the first is done.
func (t *Table) StopDaemon(ctx context.Context, r lb.SyncRole) error {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	stop := t.conn.request(cmdDelDaemon, 0)
	stop.AddData(daemonAttr(lb.SyncDaemon{Role: r}))
	errs, err := t.conn.batch([]*nl.NetlinkRequest{stop, t.conn.request(cmdGetInfo, 0)})
	if err == nil {
		err = errors.Join(errs...)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ESRCH):
		err = fmt.Errorf("%w (%w)", lb.ErrNoDaemon, unix.ESRCH)
	default:
		err = explain(0, err)
	}
	return fmt.Errorf("stop sync daemon, %s: %w", r, err)
}
