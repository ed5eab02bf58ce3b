package ipvsadm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/ipvslab/ipvslab/lb"
)

// hint says what may be wrong with a command that the table refused, or
// nothing. It begins with a colon, to follow the message.
func (t *tool) hint(ctx context.Context, cmd Command, err error) string {
	errno, ok := errnoOf(err)
	if !ok {
		return ""
	}
	dest := cmd.Verb == AddDest || cmd.Verb == EditDest || cmd.Verb == DeleteDest
	switch m := messages[cmd.Verb][errno]; {
	case m == notDefined || m == noService && cmd.HasService:
		return t.noSuchService(ctx, cmd.Service.Key)
	case m == noDestination:
		return t.noSuchDest(ctx, cmd)
	case m == noScheduler:
		return noSuchScheduler(cmd.Service)
	case m != "" && dest:
		return fmt.Sprintf(": %s is among the servers of %s; -e changes it", cmd.Dest.DestKey, where(cmd.Service.Key))
	case m != "" && cmd.Verb == AddService:
		return fmt.Sprintf(": %s is in the table; -E changes it", where(cmd.Service.Key))
	}
	return ""
}

func (t *tool) noSuchService(ctx context.Context, k lb.Key) string {
	h := fmt.Sprintf(": no -A for %s", where(k))
	services, err := t.Table.List(ctx)
	if err != nil || len(services) == 0 {
		return h + "; the table is empty"
	}
	var known []string
	for _, s := range services {
		known = append(known, where(s.Key))
		if s.Addr == k.Addr && s.Port == k.Port && k.FWMark == 0 {
			return fmt.Sprintf("%s with %s; there is one with %s", h, k.Protocol, s.Protocol)
		}
	}
	return h + "; did you mean " + nearest(where(k), known) + "?"
}

func (t *tool) noSuchDest(ctx context.Context, cmd Command) string {
	dests, err := t.Table.Destinations(ctx, cmd.Service.Key)
	if err != nil || len(dests) == 0 {
		return fmt.Sprintf(": %s has no server", where(cmd.Service.Key))
	}
	var known []string
	for _, d := range dests {
		known = append(known, d.String())
	}
	return fmt.Sprintf(": no -r %s; did you mean %s?", cmd.Dest.DestKey, nearest(cmd.Dest.String(), known))
}

// schedulers are those of Linux (net/netfilter/ipvs).
var schedulers = []string{
	"rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos",
}

func noSuchScheduler(s lb.Service) string {
	if s.Engine != "" && s.Engine != "sip" {
		return fmt.Sprintf(": the only persistence engine is sip, not %s", s.Engine)
	}
	if slices.Contains(schedulers, s.Scheduler) {
		return fmt.Sprintf(": this kernel has no ip_vs_%s", s.Scheduler)
	}
	return fmt.Sprintf(": no scheduler is called %s; there are %s", s.Scheduler, strings.Join(schedulers, ", "))
}

// where names a service as its option's argument does.
func where(k lb.Key) string {
	if k.FWMark != 0 {
		return k.String()
	}
	return (&printer{Format: Format{Numeric: true}}).endpoint(k.Addr, k.Port, k.Protocol)
}

func nearest(s string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int {
		return levenshtein.Distance(s, a, nil) - levenshtein.Distance(s, b, nil)
	})
}
