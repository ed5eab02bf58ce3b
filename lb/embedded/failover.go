package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/vrrp"
	"github.com/ipvslab/ipvslab/lb/vrrp/wire"
)

// reportRoom is for how many reports the speaker, which must not wait, may be ahead.
const reportRoom = 1024

// openGroups makes ready for VRRP, if there is a group.
func (d *director) openGroups() (err error) {
	if len(d.groups) == 0 {
		return nil
	}
	path := d.config.Namespace
	if path == "" {
		path = "/proc/self/ns/net"
	}
	if d.ns, err = netns.OpenPath(path); err != nil {
		return err
	}
	d.reports, d.active = make(chan wire.Report, reportRoom), map[string]bool{}
	groups := make([]wire.Group, len(d.groups))
	for i, g := range d.groups {
		groups[i] = g.Group
	}
	d.speaker, err = wire.New(d.ns, groups, d.heard)
	if err != nil {
		return errors.Join(err, d.ns.Close())
	}
	return nil
}

// closeGroups lets go of what openGroups has opened.
func (d *director) closeGroups() {
	if d.speaker != nil {
		d.speaker.Close()
		d.ns.Close()
	}
}

// heard takes a report on the speaker's own thread.
func (d *director) heard(r wire.Report) {
	select {
	case d.reports <- r:
	default:
		d.lost.Add(1)
	}
}

// runGroups takes part in VRRP until ctx ends, and has then resigned.
func (d *director) runGroups(ctx context.Context) error {
	if d.speaker == nil {
		<-ctx.Done()
		d.journal.add(Event{Kind: Stopping})
		return nil
	}
	d.sync(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.speaker.Run(ctx) }()
	for {
		select {
		case r := <-d.reports:
			d.tell(ctx, r)
		case err := <-ended:
			d.journal.add(Event{Kind: Stopping})
			for len(d.reports) > 0 {
				d.tell(context.WithoutCancel(ctx), <-d.reports)
			}
			return err
		}
	}
}

// tell makes an event of a report, and lets the sync daemons follow.
func (d *director) tell(ctx context.Context, r wire.Report) {
	e := Event{Kind: Notice, Time: r.Time, Group: r.Group, Text: r.Text}
	if r.Err != nil {
		e.Kind, e.Error = Failed, r.Err.Error()
	}
	if n := d.lost.Swap(0); n > 0 {
		e.Text += fmt.Sprintf(" (%d more was not kept)", n)
	}
	if r.From == r.To {
		d.journal.add(e)
		return
	}
	e.Kind, e.From, e.To = Turned, r.From.String(), r.To.String()
	d.active[r.Group] = r.To == vrrp.Active
	d.journal.add(e)
	d.sync(ctx)
}

// syncTimeout bounds one change of the sync daemons.
const syncTimeout = 5 * time.Second

// sync makes the daemons that run those that should. What fails is told; VRRP
// goes on.
func (d *director) sync(ctx context.Context) {
	for _, g := range d.groups {
		if g.Sync == nil {
			continue
		}
		want := []lb.SyncDaemon{g.Sync.daemon(lb.SyncBackup)}
		switch {
		case g.Sync.Mode == SyncBoth:
			want = append(want, g.Sync.daemon(lb.SyncMaster))
		case d.active[g.Name]:
			want[0].Role = lb.SyncMaster
		}
		d.setDaemons(ctx, g.Name, want)
	}
}

func (s *Sync) daemon(r lb.SyncRole) lb.SyncDaemon {
	return lb.SyncDaemon{Role: r, Interface: s.Interface, ID: uint32(s.ID)}
}

// setDaemons starts and stops daemons until exactly these run, and reads back
// that they do.
func (d *director) setDaemons(ctx context.Context, group string, want []lb.SyncDaemon) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	changed, err := changeDaemons(ctx, d.table, want)
	if len(changed) > 0 {
		d.journal.add(Event{Kind: Synced, Group: group, Text: strings.Join(changed, ", ")})
	}
	if err != nil {
		d.journal.add(Event{Kind: Failed, Group: group, Text: "synchronise connections", Error: err.Error()})
	}
}

// changeDaemons tells what it has done. A daemon that runs otherwise than it
// should, as after a kill, is replaced.
func changeDaemons(ctx context.Context, table lb.Table, want []lb.SyncDaemon) (changed []string, err error) {
	running, err := table.Daemons(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, have := range running {
		if findDaemon(want, have) {
			continue
		}
		if err := table.StopDaemon(ctx, have.Role); err != nil && !errors.Is(err, lb.ErrNoDaemon) {
			errs = append(errs, err)
			continue
		}
		changed = append(changed, fmt.Sprintf("%s stopped", have.Role))
	}
	for _, w := range want {
		if findDaemon(running, w) {
			continue
		}
		if err := table.StartDaemon(ctx, w); err != nil {
			errs = append(errs, err)
			continue
		}
		changed = append(changed, fmt.Sprintf("%s started on %s, id %d", w.Role, w.Interface, w.ID))
	}
	if len(changed) > 0 {
		errs = append(errs, checkDaemons(ctx, table, want))
	}
	return changed, errors.Join(errs...)
}

func checkDaemons(ctx context.Context, table lb.Table, want []lb.SyncDaemon) error {
	running, err := table.Daemons(ctx)
	if err != nil {
		return err
	}
	for _, w := range want {
		if !findDaemon(running, w) {
			return fmt.Errorf("sync daemon %s was started on %s, and is not there: %w", w.Role, w.Interface, lb.ErrNotAsWritten)
		}
	}
	return nil
}

func findDaemon(list []lb.SyncDaemon, d lb.SyncDaemon) bool {
	for _, have := range list {
		if have.Role == d.Role && have.Interface == d.Interface && have.ID == d.ID {
			return true
		}
	}
	return false
}

// stopSync stops the daemons that the director has started.
func (d *director) stopSync(ctx context.Context) error {
	for _, g := range d.groups {
		if g.Sync != nil {
			changed, err := changeDaemons(ctx, d.table, nil)
			if len(changed) > 0 {
				d.journal.add(Event{Kind: Synced, Group: g.Name, Text: strings.Join(changed, ", ")})
			}
			return err
		}
	}
	return nil
}
