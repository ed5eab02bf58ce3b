package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
)

func (d *describer) service(s *Service) {
	d.head("service %s: %s, scheduler %s, on %s", s.Name, s.Spec.Key, s.Spec.Scheduler, strings.Join(s.Directors, ", "))
	if s.Spec.Flags != 0 {
		d.item("", "flags", "%s", strings.Join(s.Spec.Flags.Words(s.Spec.Scheduler), ", "))
	}
	if s.Spec.Timeout != 0 {
		text := s.Spec.Timeout.String()
		if s.Spec.MaskBits != 0 {
			text += fmt.Sprintf(", clients by /%d", s.Spec.MaskBits)
		}
		if s.Spec.Engine != "" {
			text += ", engine " + s.Spec.Engine
		}
		d.item("", "persistence", "%s", text)
	}
	for _, m := range s.Marks {
		d.item("", "mark", "%s %s, ports %d to %d", m.Protocol, m.Addr, m.First, m.Last)
	}
	for i, dest := range s.Spec.Destinations {
		text := fmt.Sprintf("%s: %s, %s, weight %d", s.RealServers[i], dest.DestKey, dest.Forward, dest.Weight)
		if dest.Upper != 0 {
			text += fmt.Sprintf(", thresholds %d and %d", dest.Upper, dest.Lower)
		}
		switch dest.Tunnel.Type {
		case lb.GUE:
			text += fmt.Sprintf(", gue port %d", dest.Tunnel.Port)
		case lb.GRE:
			text += ", gre"
		}
		d.item("", "real server", "%s", text)
	}
	if h := s.Health(); h.Watched() {
		d.checks(s)
	}
}

func (d *describer) group(g *Group) {
	var members []string
	for _, m := range g.Members {
		members = append(members, fmt.Sprintf("%s (%d)", m.Node, m.Priority))
	}
	d.head("failover group %s: %s, VRRP version %d every %s", g.Name, strings.Join(members, ", "), g.Version, g.Interval)
	for _, r := range g.Routers {
		to := "multicast"
		if g.Unicast {
			to = "unicast"
		}
		d.item("", "virtual router", "%d on %s, IPv%d, %s", r.ID, r.Network, r.Family, to)
		for _, a := range r.Addresses {
			d.item(a.Origin, "floats", "%s%s", a.Addr, vipMark(Address{VIP: a.VIP}))
		}
	}
	switch {
	case !g.Preempt:
		d.item("", "preemption", "none")
	case g.PreemptDelay > 0:
		d.item("", "preemption", "after %s", g.PreemptDelay)
	}
	if g.StartActive {
		d.item("", "start", "%s as active", g.Members[0].Node)
	}
	switch g.Refresh {
	case defaultRefresh:
	case 0:
		d.item("", "announcements", "with a reason only")
	default:
		d.item("", "announcements", "again every %s", g.Refresh)
	}
	if g.Password != "" {
		d.item("", "authentication", "by password")
	}
	if s := g.Sync; s != nil {
		d.item("", "sync daemons", "%s, id %d on %s", s.Mode, s.ID, s.Network)
	}
}

func (d *describer) scenario(s *Scenario) {
	to := "service " + s.Service
	if s.To != "" {
		to = s.To
	}
	d.head("scenario %q: from %s to %s", s.Name, s.From, to)
	t := s.Traffic
	text := fmt.Sprintf("%d by %s, %d at once, %s each", t.Connections, t.Protocol, t.Concurrency, t.Timeout)
	if t.Duration > 0 {
		text = fmt.Sprintf("%s by %s: %d new connections a second, %s each; %d streams with a request every %s",
			t.Duration, t.Protocol, t.Rate, t.Timeout, t.Streams, t.Every)
	}
	if t.Hold {
		text += ", held open"
	}
	if len(t.Sources) > 0 {
		text += fmt.Sprintf(", from %v", t.Sources)
	}
	d.item("", "traffic", "%s", text)
	for _, f := range s.Faults {
		d.item("", "fault", "at %s: %s", f.At, f)
	}
	e := s.Expect
	if t.Duration > 0 {
		d.item("", "expect", "%s", describeHandover(e.Handover))
		return
	}
	text = e.Outcome
	if e.Predicted {
		text += ", as predicted"
	}
	if len(e.Sequence) > 0 {
		text += ", by " + strings.Join(e.Sequence, ", ")
	}
	for _, id := range slices.Sorted(maps.Keys(e.Counts)) {
		text += fmt.Sprintf(", %d by %s", e.Counts[id], id)
	}
	d.item("", "expect", "%s", text)
}

func describeHandover(h *Handover) string {
	if h == nil {
		return "nothing"
	}
	var parts []string
	add := func(is bool, format string, args ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(h.Gap > 0, "a gap of at most %s", h.Gap)
	if h.Lost != nil {
		add(true, "at most %d lost", *h.Lost)
	}
	add(h.Streams == "continue", "all streams go on")
	add(h.Streams == "lost", "all streams are lost")
	add(h.Active != "", "%s is active in the end", h.Active)
	if h.TwoActive != nil {
		add(true, "two are active for at most %s", *h.TwoActive)
	}
	return strings.Join(parts, ", ")
}
