// Package ipvs is the kernel's IPVS table as an lb.Table, over generic netlink.
//
// It is the only importer of moby/ipvs, which it uses for what that does well:
// writing services, flushing, timeouts. What moby lacks is written here on its
// own, one file per concern, so that it can be offered upstream: a probe that
// fails when the kernel has no IPVS, deadlines, reading (64-bit statistics,
// whole weights, the persistence engine), destinations of another address
// family and with tunnel types, many changes in one send, information, zeroing,
// sync daemons. The connection table is read from /proc/net.
//
// A Table belongs to one network namespace from Open on, whatever the thread
// that uses it; it keeps that namespace alive until Close.
package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// DefaultTimeout bounds a call whose context has no deadline.
const DefaultTimeout = 30 * time.Second

// Table is the IPVS table of one network namespace.
type Table struct {
	mu     sync.Mutex // the sockets take one question at a time
	ns     *netns.NS
	conn   *conn // nil: opened at the next call
	moby   *mobyTable
	proc   *procFiles
	closed bool
	dests  []lb.Destination // that are being read; memory used again and again
}

var _ lb.Table = (*Table)(nil)

// Open opens the table of the network namespace that a path such as
// /run/netns/NAME or /proc/PID/ns/net refers to; the empty path is that of the
// calling thread. It fails with lb.ErrNoIPVS or lb.ErrNotPermitted where IPVS
// can't be used.
func Open(ctx context.Context, path string) (*Table, error) {
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	ns, err := netns.OpenPath(path)
	if err != nil {
		return nil, fmt.Errorf("open IPVS table: %w", err)
	}
	t := &Table{ns: ns, moby: &mobyTable{ns: ns}}
	if err := t.setup(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open IPVS table of %s: %w", path, err), t.Close())
	}
	return t, nil
}

func (t *Table) setup(ctx context.Context) error {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if t.proc, err = openProc(t.ns); err != nil {
		return err
	}
	if _, err := t.conn.query(t.conn.request(cmdGetInfo, 0)); err != nil {
		return explain(0, err)
	}
	return nil
}

// begin takes the table for one call and bounds the call's time.
func (t *Table) begin(ctx context.Context) (_ context.Context, unlock func(), err error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, nil, lb.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		t.mu.Unlock()
		return nil, nil, err
	}
	cancel := func() {}
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
	}
	if t.conn == nil {
		if t.conn, err = dial(ctx, t.ns); err != nil {
			cancel()
			t.mu.Unlock()
			if errors.Is(err, unix.ENOENT) {
				return nil, nil, fmt.Errorf("%w (%w)", lb.ErrNoIPVS, err)
			}
			return nil, nil, explain(0, err)
		}
		t.moby.family = t.conn.family
	}
	release := t.conn.bound(ctx)
	return ctx, func() {
		defer t.mu.Unlock()
		release()
		cancel()
		if t.conn.broken {
			t.conn.close() // nothing to lose: the next call opens another
			t.conn = nil
		}
	}, nil
}

// List implements lb.Table.
func (t *Table) List(ctx context.Context) ([]lb.Service, error) {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	req := t.conn.request(cmdGetService, unix.NLM_F_DUMP)
	replies, err := t.conn.query(req)
	if err != nil {
		return nil, fmt.Errorf("list services: %w", explain(0, err))
	}
	services := make([]lb.Service, len(replies))
	for i, r := range replies {
		if services[i], err = decodeService(r); err != nil {
			return nil, fmt.Errorf("list services: %w", err)
		}
		if services[i].Destinations, err = t.destinations(services[i].Key); err != nil {
			return nil, err
		}
	}
	return services, nil
}

// Get implements lb.Table.
func (t *Table) Get(ctx context.Context, k lb.Key) (lb.Service, error) {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return lb.Service{}, err
	}
	defer unlock()
	s, err := t.service(k)
	if err != nil {
		return s, err
	}
	s.Destinations, err = t.destinations(k)
	return s, err
}

// Destinations implements lb.Table. A dump for a service that does not exist
// is empty and no error, so an empty one is asked about again.
func (t *Table) Destinations(ctx context.Context, k lb.Key) ([]lb.Destination, error) {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d, err := t.destinations(k)
	if err == nil && len(d) == 0 {
		_, err = t.service(k)
	}
	return d, err
}

func (t *Table) service(k lb.Key) (lb.Service, error) {
	req := t.conn.request(cmdGetService, 0)
	req.AddData(keyAttr(k))
	replies, err := t.conn.query(req)
	if err != nil {
		return lb.Service{}, fmt.Errorf("read service %s: %w", k, explain(0, err))
	}
	if len(replies) != 1 {
		return lb.Service{}, fmt.Errorf("read service %s: %d answers", k, len(replies))
	}
	return decodeService(replies[0])
}

func (t *Table) destinations(k lb.Key) ([]lb.Destination, error) {
	req := t.conn.request(cmdGetDest, unix.NLM_F_DUMP)
	req.AddData(keyAttr(k))
	t.dests = t.dests[:0]
	err := t.conn.each(req, func(payload []byte) error {
		d, err := decodeDestination(payload, k.Family)
		t.dests = append(t.dests, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read destinations of %s: %w", k, explain(0, err))
	}
	if len(t.dests) == 0 {
		return nil, nil
	}
	slices.Reverse(t.dests)
	return slices.Clone(t.dests), nil
}

// Close closes the sockets and files; a second call does nothing.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	var errs []error
	if t.conn != nil {
		errs = append(errs, t.conn.close())
	}
	if t.proc != nil {
		errs = append(errs, t.proc.close())
	}
	t.moby.close()
	return errors.Join(append(errs, t.ns.Close())...)
}

// command sends one request and expects nothing but success.
func (t *Table) command(ctx context.Context, cmd uint8, data *nl.RtAttr) error {
	_, unlock, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	req := t.conn.request(cmd, 0)
	if data != nil {
		req.AddData(data)
	}
	_, err = t.conn.query(req)
	return err
}
