package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/replay"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
	"github.com/ipvslab/ipvslab/topology"
)

func newReplay(a *app) *cobra.Command {
	var from source
	var asJSON bool
	c := &cobra.Command{
		Use:   "replay FILE",
		Short: "Play a list of events on a real kernel and the scheduler's model, side by side",
		Long: `Replay reads events as predict does, from FILE, and plays them on IPVS in a
kernel that has it and on the model. It compares each choice, and after each
event all counters and all connections' states, and stops at the first
difference: the exit status is then 1. Packets are made by hand, in a namespace
of their own, with the real servers behind NAT; no lab is needed.

With --topology the service and its first real servers are those of a topology
file, and FILE needs no service line. This is the form in which the random
tester (make soak) prints what it finds.

Which scheduling rules the kernel follows is found out first, by experiment; a
"kernel" line in the events goes before that. The events activate, deactivate,
finish and expire can be predicted, but not replayed: say ack, fin or rst.`,
		Example: "  printf '%s\\n' 'service tcp 10.0.0.100:80 wrr' 'add 10.0.1.1:80 weight 1' \\\n" +
			"    'add 10.0.1.2:80 weight 3' 'open x8' >events; ipvslab replay events\n" +
			"  ipvslab replay --topology lab.yaml lab.events",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			input, err := a.readScript(from, args[0])
			if err != nil {
				return err
			}
			return a.run(c.Context(), launch.Request{Need: scriptNeeds(input)}, func(ctx context.Context) error {
				return a.replay(ctx, input, asJSON)
			})
		},
	}
	from.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// source is the topology file that a script's service is in.
type source struct{ topology, service string }

func (s *source) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.topology, "topology", "", "take the service and its first real servers from this topology file")
	c.Flags().StringVar(&s.service, "service", "", "the service's name, if the topology has several")
}

// readScript reads events, for a topology's service if one is given. "-" and
// the empty path are standard input.
func (a *app) readScript(from source, path string) (predict.Input, error) {
	in := a.in
	if path != "" && path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return predict.Input{}, usageError{fmt.Errorf("read events: %w", err)}
		}
		defer f.Close()
		in = io.Reader(f)
	}
	start := predict.Input{}
	if from.topology != "" {
		plan, err := a.openPlan(from.topology, "")
		if err != nil {
			return start, err
		}
		if start, err = plannedStart(plan, from.service); err != nil {
			return start, usageError{fmt.Errorf("take a service from %s: %w", from.topology, err)}
		}
	}
	input, err := predict.ParseFor(start, in)
	if err != nil {
		return input, usageError{err}
	}
	return input, nil
}

// plannedStart is a script without events: a service of a plan, and the
// director's settings that bear on scheduling.
func plannedStart(plan *topology.Plan, name string) (in predict.Input, err error) {
	named := map[string]topology.Service{}
	for _, s := range plan.Services {
		named[s.Name] = s
	}
	names := strings.Join(slices.Sorted(maps.Keys(named)), ", ")
	if name == "" && len(named) == 1 {
		name = names
	}
	s, ok := named[name]
	switch {
	case ok:
	case len(named) == 0:
		return in, errors.New("it has none")
	case name == "":
		return in, fmt.Errorf("it has several: say which with --service (%s)", names)
	default:
		return in, fmt.Errorf("it has no service %q, only %s", name, names)
	}
	in.Service = s.Spec
	i := slices.IndexFunc(plan.Nodes, func(n topology.Node) bool { return slices.Contains(s.Directors, n.Name) })
	for _, set := range plan.Nodes[i].Sysctls {
		switch set.Key {
		case "net.ipv4.vs.expire_quiescent_template":
			in.Variant.Settings.ExpireQuiescentTemplate = set.Value != "0"
		case "net.ipv4.vs.expire_nodest_conn":
			in.Variant.Settings.ExpireNodestConn = set.Value != "0"
		case "net.ipv4.vs.conn_reuse_mode":
			in.Variant.Settings.NoConnReuse = set.Value == "0"
		}
	}
	return in, nil
}

// scriptNeeds is what a script needs of a kernel.
func scriptNeeds(in predict.Input) []string {
	need := append(slices.Clone(launch.Basics), probe.IPVS, probe.Scheduler(in.Service.Scheduler))
	if in.Service.FWMark != 0 {
		need = append(need, probe.SkbEdit)
	}
	for _, e := range in.Events {
		if s := probe.Scheduler(e.Service.Scheduler); e.Verb == predict.EditService && !slices.Contains(need, s) {
			need = append(need, s)
		}
	}
	return need
}

func (a *app) replay(ctx context.Context, in predict.Input, asJSON bool) error {
	rules, err := kernelRules(ctx)
	if err != nil {
		return err
	}
	if in.Variant.Overhead == "" {
		in.Variant.Overhead = rules.Overhead
	}
	if in.Variant.Overload == "" {
		in.Variant.Overload = rules.Overload
	}
	if in.Variant.Overhead != rules.Overhead || in.Variant.Overload != rules.Overload {
		fmt.Fprintf(a.err, "ipvslab: the events' kernel line says %s, %s; this kernel follows %s, %s\n",
			in.Variant.Overhead, in.Variant.Overload, rules.Overhead, rules.Overload)
	}
	out, err := replay.Play(ctx, in)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(out)
	} else {
		printReplay(a.out, out, len(in.Events))
	}
	if out.Difference != nil && err == nil {
		return launch.ExitStatus(exitFailed)
	}
	return err
}

// kernelRules are those of the running kernel, found out by experiment.
func kernelRules(ctx context.Context) (oracle.Variant, error) {
	p, err := director.NewProber(ctx, func(path string) (lb.Table, error) { return ipvs.Open(ctx, path) })
	if err != nil {
		return oracle.Variant{}, err
	}
	v, err := oracle.Detect(p)
	return v, errors.Join(err, p.Close())
}

func printReplay(w io.Writer, out replay.Outcome, events int) {
	for i, p := range out.Picks {
		fmt.Fprintf(w, "connection %d: %s\n", i+1, p)
	}
	if d := out.Difference; d != nil {
		fmt.Fprintf(w, "\nkernel and model differ at event %d, %q:\n%s\n", out.Events+1, d.Event, d.What)
		return
	}
	fmt.Fprintf(w, "\nkernel and model agree in all %d events.\n", events)
}
