package replay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// Files is a script as a user keeps it: a topology file, which `ipvslab up` can
// bring up as well, and the events that `ipvslab replay` plays on its service.
type Files struct {
	Topology string
	Events   string
}

// The lines between which Files.String shows the files.
const (
	TopologyTitle = "----- lab.yaml\n"
	EventsTitle   = "----- lab.events\n"
	EndTitle      = "----- save both, then: ipvslab replay --topology lab.yaml lab.events\n"
)

// String shows both, with the names to save them under.
func (f Files) String() string {
	return TopologyTitle + f.Topology + EventsTitle + f.Events + EndTitle
}

// ToFiles writes a script as files. The service is as it was at the start, with
// its first destinations; every real server that is in an event is a node. What
// a topology file does not allow, because it is of no use, is the first event.
func ToFiles(in predict.Input) Files {
	var events strings.Builder
	events.WriteString(predict.Input{Variant: in.Variant}.Rules())
	plain := sensible(in.Service)
	if plain.Flags != in.Service.Flags {
		fmt.Fprintln(&events, predict.Event{Verb: predict.EditService, Service: in.Service})
	}
	in.Service = plain
	for _, e := range in.Events {
		fmt.Fprintln(&events, e)
	}
	return Files{Topology: topologyOf(in), Events: events.String()}
}

// sensible is a service without the flags that nothing comes of. No scheduler
// looks at them before the first connection.
func sensible(s lb.Service) lb.Service {
	if s.Scheduler != "sh" && s.Scheduler != "mh" {
		s.Flags &^= lb.Sched1 | lb.Sched2
	}
	if s.Protocol != lb.UDP || s.Timeout > 0 {
		s.Flags &^= lb.OnePacket
	}
	return s
}

func topologyOf(in predict.Input) string {
	s := in.Service
	outside, inside, client, own, gateway := director.VIPs, director.Servers, "10.99.0.250", "10.99.0.251", "10.98.255.1"
	if s.Family == lb.IPv6 {
		outside, inside, client, own, gateway = director.VIPs6, director.Servers6, "fd99::fffe", "fd99::ffff", "fd98::ffff:1"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: ipvslab/v1\ndescription: A run that ipvslab replay plays.\n")
	if s.Flags&lb.OnePacket != 0 {
		b.WriteString("allow: [one-packet-nat]\n") // nobody waits for answers
	}
	fmt.Fprintf(&b, "networks:\n  outside: %q\n  inside: %q\n", outside, inside)
	fmt.Fprintf(&b, "nodes:\n  client: {role: client, interfaces: {outside: %q}}\n", client)
	fmt.Fprintf(&b, "  director: {role: director, interfaces: {outside: %q, inside: %q}}\n", own, gateway)
	nodes := servers(in)
	for _, addr := range nodes {
		fmt.Fprintf(&b, "  %s: {role: realserver, interfaces: {inside: %q}}\n", nodeName(addr), addr)
	}
	b.WriteString("services:\n  web:\n")
	writeKey(&b, in)
	fmt.Fprintf(&b, "    scheduler: %s\n", s.Scheduler)
	if f := predict.FlagNames(s); len(f) > 0 {
		fmt.Fprintf(&b, "    flags: [%s]\n", strings.Join(f, ", "))
	}
	if s.Flags&lb.OnePacket != 0 {
		b.WriteString("    onePacket: true\n")
	}
	if s.Timeout > 0 {
		fmt.Fprintf(&b, "    persistence: {timeout: %s", s.Timeout)
		if s.MaskBits != 0 {
			fmt.Fprintf(&b, ", mask: %d", s.MaskBits)
		}
		b.WriteString("}\n")
	}
	if len(s.Destinations) > 0 {
		b.WriteString("    realServers:\n")
	}
	for _, d := range s.Destinations {
		fmt.Fprintf(&b, "      %s: {weight: %d, port: %d", nodeName(d.Addr), d.Weight, d.Port)
		if d.Upper != 0 {
			fmt.Fprintf(&b, ", upper: %d, lower: %d", d.Upper, d.Lower)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func writeKey(b *strings.Builder, in predict.Input) {
	s := in.Service
	if s.FWMark == 0 {
		fmt.Fprintf(b, "    vip: %q\n    port: %d\n    protocol: %s\n", s.Addr, s.Port, s.Protocol)
		return
	}
	fmt.Fprintf(b, "    fwmark: %d\n    family: ipv%d\n    marks:\n", s.FWMark, s.Family)
	for _, m := range marks(in) {
		fmt.Fprintf(b, "      - {vip: %q, protocol: %s, ports: %d}\n", m.Virtual.Addr(), m.Protocol, m.Virtual.Port())
	}
}

// servers are the addresses of all real servers of a script, sorted.
func servers(in predict.Input) []netip.Addr {
	var all []netip.Addr
	for _, d := range in.Service.Destinations {
		all = append(all, d.Addr)
	}
	for _, e := range in.Events {
		if e.Dest.Addr.IsValid() {
			all = append(all, e.Dest.Addr)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// nodeName is rs1 for 10.98.0.1.
func nodeName(a netip.Addr) string {
	raw := a.AsSlice()
	n := len(raw)
	return fmt.Sprintf("rs%d", int(raw[n-2])<<8|int(raw[n-1]))
}

// marks are the packets that a firewall-mark service gets in a script, or one
// kind of them, since there must be some.
func marks(in predict.Input) []marked {
	var out []marked
	for _, e := range in.Events {
		if m := (marked{e.Conn.Protocol, e.Conn.Virtual}); m.Virtual.IsValid() && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	if out == nil {
		vip := director.VIPs
		if in.Service.Family == lb.IPv6 {
			vip = director.VIPs6
		}
		out = append(out, marked{lb.TCP, netip.AddrPortFrom(vip.Addr().Next(), 80)})
	}
	return out
}

// marked is what a mark rule looks at.
type marked struct {
	Protocol lb.Protocol
	Virtual  netip.AddrPort
}
