package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb/embedded"
)

// eventsOptions are the flags of `events`.
type eventsOptions struct {
	since  uint64
	follow bool
	await  string
	within time.Duration
	json   bool
}

func newEvents(a *app) *cobra.Command {
	var o eventsOptions
	c := &cobra.Command{
		Use:   "events [LAB/]NODE",
		Short: "Tell what an embedded director has seen and done, or wait for it",
		Long: `Events prints what an embedded director has seen and done, one event a line:
its number, the time, the kind, what it is about, and why. Verdicts of health
checks, quorums, failover states, changes of the table.

With --await it prints until an event matches a regular expression, and fails if
none does in time: so a script waits for a real server to be taken out.`,
		Example: "  ipvslab events master --follow\n" +
			"  ipvslab events article/master --await 'check .* real1: up -> down' --within 30s",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes(new(string)),
		RunE: func(c *cobra.Command, args []string) error {
			re, err := regexp.Compile(o.await)
			if err != nil {
				return usageError{fmt.Errorf("--await: %w", err)}
			}
			labName, nodeName, err := a.nodeRef(c.Context(), "", args[0])
			if err != nil {
				return err
			}
			req := launch.Request{Lab: labName, MustExist: true, Argv: o.argv(labName + "/" + nodeName)}
			return a.run(c.Context(), req, func(ctx context.Context) error {
				l, node, err := openNode(labName, nodeName)
				if err != nil {
					return err
				}
				client, err := node.Director()
				if errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%w; only embedded directors with checks or a failover group tell events; `ipvslab status %s` names the others' logs", err, l.Name())
				}
				if err != nil {
					return err
				}
				return a.events(ctx, client, node, re, o)
			})
		},
	}
	f := c.Flags()
	f.Uint64Var(&o.since, "since", 0, "only events after this number")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until interrupted")
	f.StringVar(&o.await, "await", "", "go on until an event's line matches this regular expression")
	f.DurationVar(&o.within, "within", 30*time.Second, "how long to wait with --await")
	f.BoolVar(&o.json, "json", false, "print each event as a line of JSON")
	return c
}

// argv is the command line once more, with the node's full name.
func (o *eventsOptions) argv(node string) []string {
	argv := []string{"events", node, "--since", strconv.FormatUint(o.since, 10), "--await", o.await, "--within", o.within.String()}
	if o.follow {
		argv = append(argv, "--follow")
	}
	if o.json {
		argv = append(argv, "--json")
	}
	return argv
}

// events prints what there is, and then what comes as long as is asked for.
func (a *app) events(ctx context.Context, client embedded.Client, node *lab.Node, re *regexp.Regexp, o eventsOptions) error {
	var wait time.Duration // there is something, or nothing will be waited for
	if o.await != "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.within)
		defer cancel()
	}
	if o.await != "" || o.follow {
		wait = time.Minute
	}
	for since := o.since; ; {
		list, err := client.Events(ctx, since, wait)
		if o.await != "" && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("no event of director %s matches %q within %s", node.Name(), o.await, o.within)
		}
		if err != nil {
			return err
		}
		for _, e := range list {
			line := eventLine(e)
			if err := a.printEvent(e, line, o.json); err != nil {
				return err
			}
			if o.await != "" && re.MatchString(line) {
				return nil
			}
			since = e.Seq
		}
		if wait == 0 {
			return nil
		}
	}
}

func (a *app) printEvent(e embedded.Event, line string, asJSON bool) error {
	if asJSON {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		line = string(data)
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

// eventLine is an event for people, and for --await.
func eventLine(e embedded.Event) string {
	words := []string{fmt.Sprintf("%4d %s %s", e.Seq, e.Time.Local().Format("15:04:05.000"), e.Kind)}
	for _, about := range []string{e.Group, e.Service, e.RealServer} {
		if about != "" {
			words = append(words, about)
		}
	}
	line := strings.Join(words, " ")
	if e.From != "" || e.To != "" {
		line += ": " + e.From + " -> " + e.To
	}
	if e.Text != "" {
		line += ": " + e.Text
	}
	if e.Error != "" {
		line += ": FAILED: " + e.Error
	}
	return line
}
