package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/handover"
	"github.com/ipvslab/ipvslab/topology"
)

// handoverFlags are the command's own.
type handoverFlags struct {
	spec   handover.Spec
	faults []string
	maxGap time.Duration
	keep   bool
	asJSON bool
}

func newHandover(a *app) *cobra.Command {
	var o handoverFlags
	c := &cobra.Command{
		Use:   "handover [LAB/]NODE TARGET",
		Short: "Measure what clients notice when something goes wrong: the gap, what was lost, which streams went on",
		Long: `Handover is a client in a node that keeps streams open to TARGET (an
address:port or the name of one of the lab's services), each with a request
every few milliseconds, and opens new connections at a steady rate. It prints a
timeline and the gap between the last answer before and the first answer after.
It ends by itself.

--fault says what is to happen meanwhile: a time, then the words of
` + "`ipvslab fault`" + `. What was done is healed at the end, unless --keep says
otherwise. The exit status is 1 if a fault could not be done or healed, or if
the gap is longer than --max-gap.`,
		Example: "  ipvslab handover client web --fault '2s master link-down' --fault '6s master heal'\n" +
			"  ipvslab handover client web --streams 50 --rate 200 --for 5s --fault '1s master kill' --max-gap 400ms --json",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeNodes(new(string)),
		RunE: func(c *cobra.Command, args []string) error {
			labName, nodeName, err := a.nodeRef(c.Context(), "", args[0])
			if err != nil {
				return err
			}
			faults, err := timedFaults(o.faults)
			if err != nil {
				return usageError{err}
			}
			req := launch.Request{Lab: labName, MustExist: true, Argv: withNode(os.Args[1:], "handover", args[0], labName+"/"+nodeName)}
			return a.run(c.Context(), req, func(ctx context.Context) error {
				return a.handover(ctx, labName, nodeName, args[1], o, faults)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&o.spec.Protocol, "protocol", "", "http, tcp or udp; what the service's real servers speak unless told otherwise")
	f.IntVar(&o.spec.Streams, "streams", 10, "streams to keep open")
	f.DurationVar(&o.spec.Every, "every", 20*time.Millisecond, "time between two requests of a stream")
	f.Float64Var(&o.spec.Rate, "rate", 100, "new connections per second; 0: none")
	f.DurationVar(&o.spec.Duration, "for", 10*time.Second, "how long to run")
	f.DurationVar(&o.spec.Timeout, "timeout", 2*time.Second, "of a new connection, and of a stream's last answers")
	f.StringArrayVar(&o.faults, "fault", nil, "what is to happen and when, such as '2s master kill' (repeatable)")
	f.BoolVar(&o.keep, "keep", false, "leave the faults in force at the end")
	f.DurationVar(&o.maxGap, "max-gap", 0, "fail if nobody was served for longer than this")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	return c
}

// timedFaults reads faults with a time before each.
func timedFaults(texts []string) ([]topology.Fault, error) {
	var out []topology.Fault
	for _, text := range texts {
		f, err := topology.ParseTimedFault(text)
		if err != nil {
			return nil, fmt.Errorf("--fault %q: %w", text, err)
		}
		out = append(out, f)
	}
	return out, nil
}

func (a *app) handover(ctx context.Context, labName, nodeName, target string, o handoverFlags, faults []topology.Fault) (err error) {
	l, node, err := openNode(labName, nodeName)
	if err != nil {
		return err
	}
	if o.spec.To, err = targetOf(l, target); err != nil {
		return usageError{err}
	}
	if o.spec.Protocol == "" {
		o.spec.Protocol = l.Plan().Spoken(target)
	}
	if o.spec.Rate == 0 {
		o.spec.Rate = -1
	}
	for _, f := range faults {
		o.spec.Events = append(o.spec.Events, handover.Event{At: f.At, Name: f.String(), Do: func(ctx context.Context) error {
			_, err := l.Fault(ctx, f)
			return err
		}})
	}
	if len(faults) > 0 && !o.keep {
		before, ferr := l.Faults()
		if ferr != nil {
			return ferr
		}
		defer func() { err = errors.Join(err, healSince(ctx, l, before)) }()
	}
	result, err := handover.Run(ctx, node.Do, o.spec)
	if err != nil && len(result.Timeline) == 0 {
		return err
	}
	show := result.Summary
	if o.asJSON {
		err = errors.Join(err, a.printJSON(result))
	} else {
		err = errors.Join(err, show(a.out))
	}
	if err == nil && o.maxGap > 0 {
		err = judge(result, o.maxGap)
	}
	return err
}

// judge fails if the gap is too long, or if nobody knows.
func judge(r handover.Result, maxGap time.Duration) error {
	if r.Gap.Net() > maxGap {
		return fmt.Errorf("the gap is %s, more than %v", r.Gap, maxGap)
	}
	if doubt := r.Doubt(); doubt != "" {
		return fmt.Errorf("%s; measure again, on a machine with less to do", doubt)
	}
	return nil
}

// healTimeout bounds mending, which happens also when the command was interrupted.
const healTimeout = time.Minute

// healSince heals all that was not in force before.
func healSince(ctx context.Context, l *lab.Lab, before []topology.Fault) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTimeout)
	defer cancel()
	_, err := l.HealSince(ctx, before)
	return err
}
