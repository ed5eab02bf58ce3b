package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// ErrOtherLab is a plan that a running lab can't be made by telling its
// directors alone.
var ErrOtherLab = errors.New("not for the directors alone")

// Reloaded is what became of a director by [Lab.Reload].
type Reloaded struct {
	Node string                `json:"node"`
	Kind topology.DirectorKind `json:"kind"`
	How  string                `json:"how"` // in words
}

// Reload has the directors of a running lab do what another plan says, without
// a restart where they can, so that connections go on: what a service is and
// what of real servers, weights, checks and quorum belongs to it; rules and
// configuration files are read again, too. The lab that it returns has the new plan.
//
// Networks and nodes must be the same (ErrOtherLab): they are made by Up. The
// paths of the plan become absolute. Of a
// configuration that keepalived does not accept nothing is done.
func (l *Lab) Reload(ctx context.Context, plan *topology.Plan, opts Options) (*Lab, []Reloaded, error) {
	now := &Lab{plan: plan, dir: l.dir, agent: l.agent}
	var done []Reloaded
	err := l.withState(ctx, func(old *builder) error {
		before := old.state.Plan
		old.absolute(before)
		old.absolute(plan)
		if err := sameLab(before, plan); err != nil {
			return err
		}
		held, err := old.held(before)
		if err != nil {
			return err
		}
		old.state.Plan = plan
		b := &builder{Lab: now, state: old.state, stateDir: old.stateDir, opts: opts}
		if err := b.tryConfigs(ctx); err != nil {
			return err
		}
		if err := b.stateDir.begin(b.state); err != nil {
			return err
		}
		var errs []error
		for i := range plan.Directors {
			d := &plan.Directors[i]
			how, err := b.reload(ctx, before, d)
			if err != nil {
				errs = append(errs, fmt.Errorf("director of node %s (%s): %w", d.Node, d.Kind, err))
				continue
			}
			done = append(done, Reloaded{Node: d.Node, Kind: d.Kind, How: how})
		}
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
		return b.awaitHeld(ctx, before, held)
	})
	if err != nil {
		return nil, done, fmt.Errorf("reload lab %s: %w", l.plan.Name, err)
	}
	return now, done, nil
}

// held are the failover groups of a plan whose addresses are somewhere.
func (b *builder) held(plan *topology.Plan) (names []string, err error) {
	for _, g := range plan.Failover {
		holder, err := b.Holder(g.Name)
		if err != nil {
			return nil, err
		}
		if holder != "" {
			names = append(names, g.Name)
		}
	}
	return names, nil
}

// awaitHeld waits until the addresses of failover groups are somewhere. Those
// that nobody had before are left out: a fault has seen to that.
func (b *builder) awaitHeld(ctx context.Context, before *topology.Plan, held []string) error {
	for i := range b.plan.Failover {
		g := &b.plan.Failover[i]
		there := slices.ContainsFunc(before.Failover, func(o topology.Group) bool { return o.Name == g.Name })
		if there && !slices.Contains(held, g.Name) || !there && !b.anyRuns(g) {
			continue
		}
		if err := b.awaitGroup(ctx, g); err != nil {
			return fmt.Errorf("failover group %s: %w", g.Name, err)
		}
	}
	return nil
}

// anyRuns tells whether a director of a group is a living process.
func (b *builder) anyRuns(g *topology.Group) bool {
	return slices.ContainsFunc(g.Members, func(m topology.GroupMember) bool {
		p := b.state.process(directorWhat(m.Node))
		return p != nil && p.alive()
	})
}

// absolute makes the paths of directors such as begin anywhere: two plans of one
// file may have been made from different directories.
func (b *builder) absolute(plan *topology.Plan) {
	for i := range plan.Directors {
		d := &plan.Directors[i]
		d.Config, d.Rules, d.Dir = b.beside(d.Config), b.beside(d.Rules), b.beside(d.Dir)
		if filepath.Base(d.Program) != d.Program {
			d.Program = b.beside(d.Program)
		}
	}
}

// tryConfigs tries the users' configurations before anybody is told.
func (b *builder) tryConfigs(ctx context.Context) error {
	for i := range b.plan.Directors {
		d := &b.plan.Directors[i]
		if d.Kind != topology.Keepalived || d.Config == "" {
			continue
		}
		node, err := b.Node(d.Node)
		if err != nil {
			return err
		}
		program, err := findKeepalived(b.beside(d.Program))
		if err == nil {
			err = b.tryConfig(ctx, node, d, ExecSpec{Argv: []string{program}, Dir: b.beside(d.Dir)})
		}
		if err != nil {
			return fmt.Errorf("director of node %s (%s): %w", d.Node, d.Kind, err)
		}
	}
	return nil
}

// reload tells one director. The plan is the new one.
func (b *builder) reload(ctx context.Context, before *topology.Plan, d *topology.DirectorPlan) (how string, err error) {
	node, err := b.Node(d.Node)
	if err != nil {
		return "", err
	}
	old := before.DirectorOf(d.Node)
	p := b.state.process(directorWhat(d.Node))
	switch {
	case p == nil && hasProcess(b.plan, d):
		return "started, for there is something to watch now", b.startDirector(ctx, d)
	case p == nil:
		return b.setTable(ctx, before, node, d)
	case !p.alive():
		return "it does not run; it will be told when it is started", nil
	case !hasProcess(b.plan, d) && (d.Kind != topology.Embedded || old.Kind != topology.Embedded):
		if err := p.end(ctx, true); err != nil {
			return "", err
		}
		b.state.Processes = slices.DeleteFunc(b.state.Processes, func(o process) bool { return o.What == p.What })
		if err := b.stateDir.write(b.state); err != nil {
			return "", err
		}
		return b.setTable(ctx, before, node, d)
	}
	switch same, err := sameProgram(old, d); {
	case err != nil:
		return "", fmt.Errorf("compare with what it was: %w", err)
	case !same:
		return "restarted: it is another program, or has other arguments", b.renew(ctx, node, *p)
	}
	switch d.Kind {
	case topology.Keepalived:
		return b.hangUp(ctx, node, d, *p, "it has read its configuration again")
	case topology.CommandDirector:
		if !p.catches(unix.SIGHUP) {
			return "restarted, for it does not catch SIGHUP", b.renew(ctx, node, *p)
		}
		return b.hangUp(ctx, node, d, *p, "it was sent SIGHUP")
	}
	dir := directorDir(b.dir, d.Node)
	if _, err := b.embeddedSpec(d, dir, ExecSpec{}); err != nil { // for the next start
		return "", err
	}
	cfg := embeddedConfig(b.plan, d, dir)
	how = "it was told its services"
	if !reflect.DeepEqual(embeddedConfig(before, d, dir).Groups, cfg.Groups) {
		how += " and failover groups"
	}
	return how, node.embedded().Reload(ctx, cfg)
}

// sameProgram tells whether a process can be told of changes, and needs no other one.
func sameProgram(a, b *topology.DirectorPlan) (bool, error) {
	x, y := *a, *b
	x.Ready, y.Ready, x.Rules, y.Rules, x.Origin, y.Origin, x.Lax, y.Lax = nil, nil, "", "", "", "", false, false
	return sameJSON(x, y)
}

// renew ends a director cleanly and starts it by the new plan.
func (b *builder) renew(ctx context.Context, node *Node, p process) error {
	return errors.Join(p.end(ctx, true), b.again(ctx, node, topology.DirectorProcess, p))
}

// hangUp writes a director's files anew, sends it SIGHUP and waits until its
// table is what the services say.
func (b *builder) hangUp(ctx context.Context, node *Node, d *topology.DirectorPlan, p process, how string) (string, error) {
	dir := directorDir(b.dir, d.Node)
	var err error
	if d.Kind == topology.Keepalived {
		_, err = b.keepalivedFile(d, dir)
	} else {
		_, err = b.commandSpec(d, dir, ExecSpec{})
	}
	if err == nil {
		err = p.signal(unix.SIGHUP)
	}
	if err != nil {
		return "", err
	}
	ready := &readiness{node: node, log: filepath.Join(dir, directorLog), look: b.directorLook(d, node)}
	if d.Ready != nil {
		ready.Within = d.Ready.Within
	}
	if err := ready.await(ctx, nil); err != nil {
		return "", err
	}
	return how, b.judgeLog(d, ready.log)
}

// setTable makes the table of a director without a process what it is to be, by
// no more changes than it takes.
func (b *builder) setTable(ctx context.Context, before *topology.Plan, node *Node, d *topology.DirectorPlan) (how string, err error) {
	desired, o := carried(b.plan, d.Node), lb.ControllerOptions{}
	for _, s := range carried(before, d.Node) {
		o.Owned = append(o.Owned, s.Key)
	}
	if d.Kind == topology.Ipvsadm {
		o.Foreign = lb.TakeOver // a rules file is the whole table
	}
	if d.Kind == topology.Ipvsadm && d.Rules != "" {
		file, err := os.Open(b.beside(d.Rules))
		if err != nil {
			return "", fmt.Errorf("read rules: %w", err)
		}
		defer file.Close()
		if desired, err = ipvsadm.ReadRules(file, nil, nil); err != nil {
			return "", fmt.Errorf("read rules in %s: %w", d.Rules, err)
		}
	}
	table, err := node.Table(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	report, err := lb.NewController(table, o).Reconcile(ctx, desired)
	return strconv.Itoa(len(report.Done)) + " changes to its table", err
}

// catches tells whether a process has a handler for a signal (proc_pid_status(5), SigCgt).
func (p process) catches(sig unix.Signal) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if mask, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits>>(sig-1)&1 == 1
		}
	}
	return false
}
