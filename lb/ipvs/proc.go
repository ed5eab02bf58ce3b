package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
)

// procFiles are the namespace's files in /proc/net. Opened inside, they show
// that namespace's tables for ever (seq_open_net), from any thread.
type procFiles struct{ conns, synced, table, stats, live *os.File }

func openProc(ns *netns.NS) (*procFiles, error) {
	p := new(procFiles)
	err := ns.Do(func() (err error) {
		for name, f := range map[string]**os.File{
			"ip_vs_conn": &p.conns, "ip_vs_conn_sync": &p.synced, "ip_vs": &p.table, "ip_vs_stats": &p.stats, "ip_vs_stats_percpu": &p.live,
		} {
			// Not /proc/net: that is the main thread's.
			if *f, err = os.Open("/proc/thread-self/net/" + name); err != nil {
				return fmt.Errorf("open IPVS tables: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *procFiles) close() error {
	var errs []error
	for _, f := range []*os.File{p.conns, p.synced, p.table, p.stats, p.live} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// readProc parses one of the files from its beginning.
func readProc[T any](ctx context.Context, t *Table, pick func(*procFiles) *os.File, parse func(io.Reader) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return none, lb.ErrClosed
	}
	f := pick(t.proc)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return none, fmt.Errorf("rewind %s: %w", f.Name(), err)
	}
	return parse(f)
}

// Conns reads the connection table, in the kernel's random order.
//
// The table is one for all namespaces, and is read piece by piece: the kernel
// finds its place again by counting, other namespaces' entries too
// (ip_vs_conn.c, ip_vs_conn_array). What comes and goes meanwhile makes it show
// an entry twice, which is mended here, or skip some, which can't be seen: it
// takes more than a page of entries (about 40) and a second look.
func (t *Table) Conns(ctx context.Context) ([]lb.Conn, error) {
	conns, err := readProc(ctx, t, func(p *procFiles) *os.File { return p.conns }, lb.ParseConns)
	return once(conns), err
}

// SyncedConns reads the connection table with each entry's Origin, but without
// what persistence engines keep.
func (t *Table) SyncedConns(ctx context.Context) ([]lb.Conn, error) {
	conns, err := readProc(ctx, t, func(p *procFiles) *os.File { return p.synced }, lb.ParseConns)
	return once(conns), err
}

// once keeps the first of entries that differ in their timer at most.
func once(conns []lb.Conn) []lb.Conn {
	seen := make(map[lb.Conn]bool, len(conns))
	return slices.DeleteFunc(conns, func(c lb.Conn) bool {
		c.Expires = 0
		twice := seen[c]
		seen[c] = true
		return twice
	})
}

// ProcTable reads the services a second way, from /proc/net/ip_vs.
func (t *Table) ProcTable(ctx context.Context) ([]lb.ProcService, error) {
	return readProc(ctx, t, func(p *procFiles) *os.File { return p.table }, func(r io.Reader) ([]lb.ProcService, error) {
		services, _, err := lb.ParseProcTable(r)
		return services, err
	})
}

// Totals reads the statistics of the namespace as a whole.
func (t *Table) Totals(ctx context.Context) (lb.Counters, error) {
	return readProc(ctx, t, func(p *procFiles) *os.File { return p.stats }, lb.ParseProcStats)
}

// LiveTotals reads what the namespace has counted up to this moment, without
// rates. All other statistics lag behind by up to 2 s (ip_vs_est.c).
func (t *Table) LiveTotals(ctx context.Context) (lb.Counters, error) {
	return readProc(ctx, t, func(p *procFiles) *os.File { return p.live }, lb.ParseProcLiveStats)
}
