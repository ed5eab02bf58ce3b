package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

func newTraffic(a *app) *cobra.Command {
	var spec traffic.Spec
	var asJSON bool
	c := &cobra.Command{
		Use:   "traffic [LAB/]NODE TARGET",
		Short: "Drive connections from a node; tell who answered, how fast, and what went wrong",
		Long: `Traffic opens connections from a node to TARGET, an address:port or the name of
one of the lab's services, and reports them as data. It ends by itself. The
exit status is 1 if any connection was not answered.`,
		Example:           "  ipvslab traffic client web -n 100 -c 16\n  ipvslab traffic client 192.168.1.117:80 --hold --close reset --json",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeNodes(new(string)),
		RunE: func(c *cobra.Command, args []string) error {
			labName, nodeName, err := a.nodeRef(c.Context(), "", args[0])
			if err != nil {
				return err
			}

			req := launch.Request{Lab: labName, MustExist: true, Argv: withNode(os.Args[1:], "traffic", args[0], labName+"/"+nodeName)}
			return a.run(c.Context(), req, func(ctx context.Context) error {
				return a.traffic(ctx, labName, nodeName, args[1], spec, asJSON)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&spec.Protocol, "protocol", traffic.HTTP, "http, tcp, udp or sctp")
	f.IntVarP(&spec.Connections, "connections", "n", 0, "how many; 0: one, or as many as fit into --duration")
	f.IntVarP(&spec.Concurrency, "concurrency", "c", 1, "how many at once")
	f.DurationVar(&spec.Duration, "duration", 0, "open none after this time")
	f.Float64Var(&spec.Rate, "rate", 0, "connections opened per second; 0: as fast as it goes")
	f.DurationVar(&spec.Timeout, "timeout", 5*time.Second, "of one connection")
	f.BoolVar(&spec.Hold, "hold", false, "keep each open until the last has been opened")
	f.StringVar((*string)(&spec.Close), "close", string(traffic.CloseClient), "how connections end: client, server, reset or vanish")
	f.IntVar(&spec.Requests, "requests", 1, "requests per connection (HTTP keep-alive), or datagrams")
	f.StringVar(&spec.Path, "path", "/", "of HTTP requests")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// withNode replaces the first word after the command's that is the node's by its full reference.
func withNode(argv []string, name, word, ref string) []string {
	out := append([]string(nil), argv...)
	command := slices.Index(out, name)
	for i, arg := range out {
		if i > command && arg == word {
			out[i] = ref
			break
		}
	}
	return out
}

func (a *app) traffic(ctx context.Context, labName, nodeName, target string, spec traffic.Spec, asJSON bool) error {
	l, node, err := openNode(labName, nodeName)
	if err != nil {
		return err
	}
	if spec.To, err = targetOf(l, target); err != nil {
		return usageError{err}
	}
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		spec.Progress = a.trafficProgress
	}
	result, err := traffic.Run(ctx, node.Do, spec)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(result)
	} else {
		err = result.Summary(a.out)
	}
	if err == nil && result.Answered() < result.Opened {
		return launch.ExitStatus(exitFailed)
	}
	return err
}

// targetOf is the address of a service of the lab's, or one written out.
func targetOf(l *lab.Lab, target string) (netip.AddrPort, error) {
	var names []string
	for _, s := range l.Plan().Services {
		if s.Name == target && s.Spec.Addr.IsValid() {
			return netip.AddrPortFrom(s.Spec.Addr, s.Spec.Port), nil
		}
		names = append(names, s.Name)
	}
	to, err := netip.ParseAddrPort(target)
	if err != nil {
		return to, fmt.Errorf("target %q is neither address:port nor one of the lab's services (%s)", target, strings.Join(names, ", "))
	}
	return to, nil
}

func (a *app) trafficProgress(p traffic.Progress) {
	end := "\r"
	if p.Total > 0 && p.Done == p.Total {
		end = "\n"
	}
	fmt.Fprintf(a.err, "%d opened, %d answered, %s%s", p.Opened, p.Answered, p.Elapsed.Round(100*time.Millisecond), end)
}
