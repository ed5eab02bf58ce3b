package embedded

import (
	"context"
	"errors"
	"fmt"
	"reflect"
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
func (d *director) openGroups() error {
	r := &regrouping{d: d, groups: d.groups}
	if err := r.openSpeaker(); err != nil {
		return err
	}
	return r.put(context.Background())
}

// regrouping is failover groups that the director is ready to be in; nothing has
// changed until put is called.
type regrouping struct {
	d       *director
	groups  []Group
	next    *wire.Reload  // for the speaker that there is
	ns      *netns.NS     // of
	speaker *wire.Speaker // the one that there will be
}

// regroup makes ready for other failover groups. The caller has mu, and closes it.
func (d *director) regroup(groups []Group) (*regrouping, error) {
	r := &regrouping{d: d, groups: groups}
	switch {
	case d.ended:
		return nil, wire.ErrEnded
	case reflect.DeepEqual(groups, d.config.Groups):
		return r, nil
	case d.speaker == nil:
		return r, r.openSpeaker()
	}
	next, err := d.speaker.PrepareReload(wireGroups(groups))
	r.next = next
	return r, err
}

func (r *regrouping) openSpeaker() (err error) {
	if len(r.groups) == 0 {
		return nil
	}
	path := r.d.config.Namespace
	if path == "" {
		path = "/proc/self/ns/net"
	}
	if r.ns, err = netns.OpenPath(path); err != nil {
		return err
	}
	if r.speaker, err = wire.New(r.ns, wireGroups(r.groups), r.d.heard); err != nil {
		err = errors.Join(err, r.ns.Close())
	}
	return err
}

// put puts the groups in force.
func (r *regrouping) put(ctx context.Context) error {
	d := r.d
	switch {
	case r.speaker != nil:
		d.ns, d.speaker, r.speaker = r.ns, r.speaker, nil
		d.setGroups(r.groups)
		close(d.joined)
	case r.next != nil:
		err := r.next.Apply()
		d.setGroups(r.groups)
		d.sync(ctx)
		return err
	}
	return nil
}

func (d *director) setGroups(groups []Group) {
	d.syncing.Lock()
	defer d.syncing.Unlock()
	d.groups = groups
}

// Close lets go of what was not put in force.
func (r *regrouping) Close() error {
	switch {
	case r.next != nil:
		return r.next.Close()
	case r.speaker != nil:
		return errors.Join(r.speaker.Close(), r.ns.Close())
	}
	return nil
}

// wireGroups are the groups without what concerns connection synchronisation.
func wireGroups(groups []Group) []wire.Group {
	out := make([]wire.Group, len(groups))
	for i, g := range groups {
		out[i] = g.Group
	}
	return out
}

// synchronised is the group that the sync daemons belong to; nil: none.
func synchronised(groups []Group) *Group {
	for i := range groups {
		if groups[i].Sync != nil {
			return &groups[i]
		}
	}
	return nil
}

// closeGroups lets go of what put has put in force.
func (d *director) closeGroups() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
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

// runGroups takes part in VRRP, as soon as there is a group, until ctx ends, and has then resigned.
func (d *director) runGroups(ctx context.Context) error {
	select {
	case <-d.joined:
	case <-ctx.Done():
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
	d.syncing.Lock()
	d.active[r.Group] = r.To == vrrp.Active
	d.syncing.Unlock()
	d.journal.add(e)
	d.sync(ctx)
}

// syncTimeout bounds one change of the sync daemons.
const syncTimeout = 5 * time.Second

// sync makes the daemons that run those that should. What fails is told; VRRP
// goes on.
func (d *director) sync(ctx context.Context) {
	d.syncing.Lock()
	defer d.syncing.Unlock()
	g := synchronised(d.groups)
	if g == nil {
		if d.synced != "" { // the groups were others
			d.setDaemons(ctx, d.synced, nil)
			d.synced = ""
		}
		return
	}
	d.synced = g.Name
	want := []lb.SyncDaemon{g.Sync.daemon(lb.SyncBackup)}
	switch {
	case g.Sync.Mode == SyncBoth:
		want = append(want, g.Sync.daemon(lb.SyncMaster))
	case d.active[g.Name]:
		want[0].Role = lb.SyncMaster
	}
	d.setDaemons(ctx, g.Name, want)
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
	d.syncing.Lock()
	defer d.syncing.Unlock()
	g := synchronised(d.groups)
	if g == nil {
		return nil
	}
	changed, err := changeDaemons(ctx, d.table, nil)
	if len(changed) > 0 {
		d.journal.add(Event{Kind: Synced, Group: g.Name, Text: strings.Join(changed, ", ")})
	}
	return err
}
