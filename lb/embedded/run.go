package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/health/probe"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/vrrp/wire"
)

// Options are what a director's process provides. The zero value suits.
type Options struct {
	// Log gets every event as a line of JSON.
	Log io.Writer
	// Table is the table to work on; nil: the kernel's in Config.Namespace.
	Table lb.Table
}

// stopTimeout bounds a clean stop, which goes on after the context has ended.
const stopTimeout = 10 * time.Second

// director is a running embedded director.
type director struct {
	journal    *journal
	table      lb.Table
	controller *lb.Controller
	started    time.Time

	mu     sync.Mutex // held while the table is being changed
	config Config
	fault  error // why the table is not as it should be; nil: it is

	memory  memory
	monitor *health.Monitor
	watcher *probe.Watcher

	ns      *netns.NS     // of the speaker
	speaker *wire.Speaker // nil: there was no failover group yet; written with mu held
	ended   bool          // it speaks no more; with mu held
	joined  chan struct{} // closed when there is a speaker
	reports chan wire.Report
	lost    atomic.Int64 // reports for which there was no room

	syncing sync.Mutex // held while sync daemons are being changed
	groups  []Group
	active  map[string]bool
	synced  string // the group whose daemons run
}

// Run is the life of an embedded director: it makes the table what the
// configuration says, keeps it so, takes part in its failover groups, and
// returns nil when ctx has ended and it has stopped cleanly. It fails if it
// can't begin, can't go on, or can't stop cleanly.
func Run(ctx context.Context, cfg Config, opts Options) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	d := &director{journal: newJournal(cfg.Node, opts.Log), table: opts.Table, config: cfg, groups: cfg.Groups, started: time.Now()}
	d.joined, d.reports, d.active = make(chan struct{}), make(chan wire.Report, reportRoom), map[string]bool{}
	if d.table == nil {
		table, err := ipvs.Open(ctx, cfg.Namespace)
		if err != nil {
			return fmt.Errorf("director %s: %w", cfg.Node, err)
		}
		defer func() { err = errors.Join(err, table.Close()) }()
		d.table = table
	}
	d.memory.path = cfg.Memory
	owned, err := d.memory.read()
	if err != nil {
		return fmt.Errorf("director %s: %w", cfg.Node, err)
	}
	d.controller = lb.NewController(d.table, lb.ControllerOptions{Owned: owned})
	d.monitor = newMonitor(&d.config)
	if err := d.run(ctx); err != nil {
		return fmt.Errorf("director %s: %w", cfg.Node, err)
	}
	return nil
}

// run begins with the table: whoever has the addresses must be able to serve.
func (d *director) run(ctx context.Context) error {
	if err := d.apply(ctx); err != nil {
		return err
	}
	if err := d.openGroups(); err != nil {
		return err
	}
	defer d.closeGroups()
	d.watcher = d.newWatcher(ctx)
	control, err := d.listen(d.config.Control)
	if err != nil {
		return err
	}
	defer control.Close()
	d.journal.add(Event{Kind: Started, Text: fmt.Sprintf("process %d, %d services", os.Getpid(), len(d.config.Services))})
	stopChecks := d.watch(ctx)
	err = d.runGroups(ctx)
	stopChecks()
	return errors.Join(err, d.stop(context.WithoutCancel(ctx)))
}

// apply makes the table what it should be and tells what that took.
func (d *director) apply(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.applyLocked(ctx, d.controller.Reconcile)
}

// applyLocked has the controller do it in one of its ways.
func (d *director) applyLocked(ctx context.Context, do func(context.Context, []lb.Service) (lb.Report, error)) error {
	wanted := append(d.monitor.Services(), d.monitor.Carriers()...)
	if err := d.memory.note(d.controller.Owned(), wanted); err != nil {
		return err
	}
	report, err := do(ctx, wanted)
	d.fault = err
	e := Event{Kind: Table, Text: fmt.Sprintf("%d changes made", len(report.Done))}
	if err != nil {
		e.Error = err.Error()
	}
	if err != nil || len(report.Done) > 0 {
		d.journal.add(e)
	}
	return err
}

// reload puts another configuration in force. Of a wrong one nothing is done.
func (d *director) reload(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if cfg.Node != d.config.Node || cfg.Namespace != d.config.Namespace || cfg.Control != d.config.Control || cfg.Memory != d.config.Memory {
		return errors.New("reload: node, namespace, control socket and memory are for the life of the process; restart it")
	}
	groups, err := d.regroup(cfg.Groups)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	defer groups.Close()
	d.config = cfg
	for _, e := range d.monitor.Reload(cfg.healthServices(), time.Now()) {
		d.journal.add(d.verdict(e))
	}
	// The table first: whoever has a new address must be able to serve.
	err = errors.Join(d.applyLocked(ctx, d.controller.Reconcile), groups.put(ctx))
	d.watcher.Wake()
	e := Event{Kind: Reloaded, Text: fmt.Sprintf("%d services", len(cfg.Services))}
	if len(cfg.Groups) > 0 {
		e.Text += fmt.Sprintf(", %d failover groups", len(cfg.Groups))
	}
	if err != nil {
		e.Error = err.Error()
	}
	d.journal.add(e)
	return err
}

// stop is a clean stop.
func (d *director) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := d.stopSync(ctx)
	if d.config.Clear || len(d.monitor.Carriers()) > 0 {
		err = errors.Join(err, d.clear(ctx))
	}
	e := Event{Kind: Stopped}
	if err != nil {
		err = fmt.Errorf("stop: %w", err)
		e.Error = err.Error()
	}
	d.journal.add(e)
	return err
}

// clear takes out of the table what is of no use without the director: what
// carries checks, and the services if the configuration says so.
func (d *director) clear(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var left []lb.Service
	if !d.config.Clear {
		left = d.monitor.Services()
	}
	_, err := d.controller.Reconcile(ctx, left)
	return err
}
