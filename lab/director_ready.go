package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/topology"
)

// watched tells whether a service's table changes by itself, for its real
// servers are checked.
func watched(s health.Service) bool { return s.Watched() }

// directorLook looks whether a director is ready: its table is what the
// services say, as far as they say it.
func (b *builder) directorLook(d *topology.DirectorPlan, node *Node) func(context.Context) error {
	table := b.tableLook(d, node, inTableAsChecked)
	switch d.Kind {
	case topology.Embedded:
		return func(ctx context.Context) error {
			client, err := node.Director()
			if err != nil {
				return err
			}
			status, err := client.Status(ctx)
			if err == nil && status.Fault != "" {
				err = errors.New(status.Fault)
			}
			return err
		}
	case topology.Keepalived:
		dir := directorDir(b.dir, d.Node)
		return func(ctx context.Context) error {
			if err := keepalivedRuns(dir); err != nil {
				return err
			}
			return errors.Join(table(ctx), b.checksLook(ctx, d, node), b.vipsLook(d, node))
		}
	}
	return table
}

// keepalivedRuns looks for the process that does the work: keepalived writes
// its number when it has read its configuration.
func keepalivedRuns(dir string) error {
	for _, name := range []string{checkersPID, vrrpPID} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil
		}
	}
	return errors.New("keepalived has started neither checks nor VRRP")
}

// checksLook looks whether a keepalived with checks has set its table: it puts
// real servers in one after the other, and begins to check them, which may
// take them out again, when all are there.
func (b *builder) checksLook(ctx context.Context, d *topology.DirectorPlan, node *Node) error {
	if !slices.ContainsFunc(b.plan.HealthServices(d.Node), watched) {
		return nil
	}
	log, err := node.DirectorLog()
	if err != nil {
		return err
	}
	if checksBegun.Match(lastRun(log)) {
		return nil
	}
	if err := b.tableLook(d, node, inTable)(ctx); err != nil {
		return fmt.Errorf("keepalived has not begun its checks yet, and %w", err)
	}
	return nil
}

// tableLook compares the node's table with the services that its director
// carries. Others may be there: the user's own configuration may have more.
func (b *builder) tableLook(d *topology.DirectorPlan, node *Node, holds func([]lb.Service, health.Service) error) func(context.Context) error {
	services := b.plan.HealthServices(d.Node)
	if len(services) == 0 {
		return func(context.Context) error { return nil }
	}
	return func(ctx context.Context) (err error) {
		table, err := node.Table(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, table.Close()) }()
		have, err := table.List(ctx)
		if err != nil {
			return err
		}
		var errs []error
		for _, s := range services {
			errs = append(errs, holds(have, s))
		}
		return errors.Join(errs...)
	}
}

// inTableAsChecked tells whether a table holds a service. Of one whose real servers are
// checked, those that are down may be missing or have no weight, and the sorry
// server may be there.
func inTableAsChecked(have []lb.Service, want health.Service) error {
	if i := slices.IndexFunc(have, func(s lb.Service) bool { return s.Key == want.Spec.Key }); i >= 0 && watched(want) {
		want.Spec.Destinations = have[i].Destinations
	}
	return inTable(have, want)
}

// inTable tells whether a table holds a service with all its real servers.
func inTable(have []lb.Service, want health.Service) error {
	i := slices.IndexFunc(have, func(s lb.Service) bool { return s.Key == want.Spec.Key })
	if i < 0 {
		return fmt.Errorf("service %s (%s) is not in the table, which has %s", want.Name, want.Spec.Key, keysOf(have))
	}
	if lines := lb.Differences(have[i:i+1], []lb.Service{want.Spec}, lb.DiffOptions{}); len(lines) > 0 {
		return fmt.Errorf("service %s is not in the table as the topology file has it:\n    %s", want.Name, strings.Join(lines, "\n    "))
	}
	return nil
}

func keysOf(services []lb.Service) string {
	if len(services) == 0 {
		return "none"
	}
	var words []string
	for _, s := range services {
		words = append(words, s.Key.String())
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// DirectorStatus is what runs a director, and how it is.
type DirectorStatus struct {
	Node string                `json:"node"`
	Kind topology.DirectorKind `json:"kind"`
	// State is "runs" or "has ended"; "set" if it is no process and has set
	// its table, "idle" if it carries nothing.
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"`
	Log   string `json:"log,omitempty"`
}

// directorStatus is the status of all directors.
func directorStatus(st *state) []DirectorStatus {
	var out []DirectorStatus
	for i := range st.Plan.Directors {
		d := &st.Plan.Directors[i]
		s := DirectorStatus{Node: d.Node, Kind: d.Kind, State: "idle"}
		if len(carried(st.Plan, d.Node)) > 0 || d.Rules != "" {
			s.State = "set"
		}
		if hasProcess(st.Plan, d) {
			s.State = "not started"
		}
		for _, p := range st.Processes {
			if p.What != directorWhat(d.Node) {
				continue
			}
			s.PID, s.Log, s.State = p.PID, p.Log, "has ended"
			if p.alive() {
				s.State = "runs"
			}
		}
		out = append(out, s)
	}
	return out
}
