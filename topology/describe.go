package topology

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gopkg.in/yaml.v3"
)

// WriteJSON writes a plan as indented JSON.
func WriteJSON(w io.Writer, p *Plan) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// WriteYAML writes a plan as YAML with JSON's keys in JSON's order.
func WriteYAML(w io.Writer, p *Plan) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	var doc yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	blockStyle(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return enc.Close()
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// Describe writes a plan for people: one item a line, each default followed by
// the rule that brought it, as a comment.
func Describe(w io.Writer, p *Plan) error {
	var b bytes.Buffer
	d := &describer{tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)}
	title := "lab " + p.Name
	if p.Source != "" {
		title += " from " + p.Source
	}
	d.line("", "%s", title)
	for _, n := range p.Networks {
		d.head("network %s: %s, mtu %d, %s", n.Name, n.Kind, n.MTU, prefixList(n.Prefixes))
	}
	for i := range p.Nodes {
		d.node(&p.Nodes[i])
		d.director(p.DirectorOf(p.Nodes[i].Name))
	}
	for i := range p.Services {
		d.service(&p.Services[i])
	}
	for i := range p.Failover {
		d.group(&p.Failover[i])
	}
	for i := range p.Scenarios {
		d.scenario(&p.Scenarios[i])
	}
	if err := d.tw.Flush(); err != nil {
		return fmt.Errorf("describe plan: %w", err)
	}
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return fmt.Errorf("describe plan: %w", err)
		}
	}
	return nil
}

// DescribeNode is what a plan has of a node as [Describe] writes it, a line an
// item, with the rule that brought it.
func DescribeNode(n *Node) []string {
	var b bytes.Buffer
	d := &describer{tabwriter.NewWriter(&b, 0, 4, 1, ' ', 0)}
	d.node(n)
	_ = d.tw.Flush() // into memory
	var out []string
	for line := range strings.Lines(b.String()) {
		if item, ok := strings.CutPrefix(line, "  "); ok {
			out = append(out, strings.Join(strings.Fields(item), " "))
		}
	}
	return out
}

type describer struct{ tw *tabwriter.Writer }

// head starts a block; item adds a line to it, with columns.
func (d *describer) head(format string, args ...any) {
	fmt.Fprintf(d.tw, "\n"+format+"\n", args...)
}

func (d *describer) item(o Origin, kind, format string, args ...any) {
	d.line(o, "  %s\t%s", kind, fmt.Sprintf(format, args...))
}

func (d *describer) line(o Origin, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if o != "" {
		text += "\t# " + string(o)
	}
	fmt.Fprintln(d.tw, text)
}

func (d *describer) node(n *Node) {
	d.head("node %s, role %s", n.Name, n.Role)
	for _, i := range n.Interfaces {
		d.iface(i)
	}
	for _, a := range n.Loopback {
		d.item(a.Origin, "address", "%s on lo%s", a.Prefix, vipMark(a))
	}
	for _, r := range n.Routes {
		d.item(r.Origin, "route", "%s", describeRoute(r))
	}
	for _, r := range n.Rules {
		d.item(r.Origin, "rule", "%s", describeRule(r))
	}
	for _, r := range n.Responders {
		d.item(r.Origin, "serve", "%s %s as %s", r.Protocol, listenOn(r), r.Identity)
	}
	for _, c := range n.Commands {
		d.item("", "run", "%s: %q", c.Name, c.Argv)
	}
	for _, s := range groupSysctls(n.Sysctls) {
		d.item(s.Origin, "sysctl", "%s = %s", s.Key, s.Value)
	}
}

func (d *describer) iface(i Interface) {
	text := fmt.Sprintf("%s: %s", i.Name, i.Kind)
	if i.Network != "" {
		text += " on " + i.Network
	}
	if i.MTU != 0 {
		text += fmt.Sprintf(", mtu %d", i.MTU)
	}
	if i.MAC != "" {
		text += ", " + i.MAC
	}
	for _, end := range []struct {
		what string
		has  bool
		text string
	}{
		{"local", i.Local.IsValid(), i.Local.String()},
		{"remote", i.Remote.IsValid(), i.Remote.String()},
		{"port", i.Port != 0, fmt.Sprint(i.Port)},
		{"inside", i.Inside != "" && i.Inside != IPIPIface, string(i.Inside)},
		{"with", i.Checksum, "checksum"},
	} {
		if end.has {
			text += ", " + end.what + " " + end.text
		}
	}
	if i.Down {
		text += ", down"
	}
	d.item(i.Origin, "interface", "%s", text)
	for _, a := range i.Addresses {
		d.item(a.Origin, "address", "%s on %s%s", a.Prefix, i.Name, vipMark(a))
	}
}

func vipMark(a Address) string {
	if a.VIP {
		return ", a VIP"
	}
	return ""
}

func describeRoute(r Route) string {
	to := r.To.String()
	if r.To.Bits() == 0 {
		to = "default (" + to + ")"
	}
	words := []string{}
	if r.Type != "" {
		words = append(words, r.Type)
	}
	words = append(words, to)
	if r.Via.IsValid() {
		words = append(words, "via", r.Via.String())
	}
	if r.Device != "" {
		words = append(words, "dev", r.Device)
	}
	if r.Source.IsValid() {
		words = append(words, "src", r.Source.String())
	}
	for _, n := range []struct {
		word  string
		value int
	}{{"metric", r.Metric}, {"mtu", r.MTU}, {"table", r.Table}} {
		if n.value != 0 {
			words = append(words, n.word, itoa(n.value))
		}
	}
	return strings.Join(words, " ")
}

func describeRule(r Rule) string {
	text := fmt.Sprintf("IPv%d", r.Family)
	if r.Priority != 0 {
		text += fmt.Sprintf(" priority %d", r.Priority)
	}
	if r.From.IsValid() {
		text += " from " + r.From.String()
	}
	if r.To.IsValid() {
		text += " to " + r.To.String()
	}
	if r.IIF != "" {
		text += " iif " + r.IIF
	}
	if r.FWMark != 0 {
		text += fmt.Sprintf(" fwmark %d", r.FWMark)
	}
	return text + fmt.Sprintf(" lookup %d", r.Table)
}

func listenOn(r Responder) string {
	if len(r.Addrs) == 0 {
		return fmt.Sprintf("on any address, port %d", r.Port)
	}
	words := make([]string, len(r.Addrs))
	for i, a := range r.Addrs {
		words[i] = a.String()
	}
	return fmt.Sprintf("on %s, port %d", strings.Join(words, ", "), r.Port)
}

// groupSysctls writes settings that differ only in the interface as one, as a
// shell would: net.ipv4.conf.{all,default,inside}.rp_filter.
func groupSysctls(list []Sysctl) []Sysctl {
	type kind struct {
		head, leaf, value string
		origin            Origin
	}
	var out []Sysctl
	at, links := map[kind]int{}, map[kind][]string{}
	for _, s := range list {
		parts := strings.Split(s.Key, ".")
		if len(parts) != 5 || parts[2] != "conf" {
			out = append(out, s)
			continue
		}
		k := kind{strings.Join(parts[:3], "."), parts[4], s.Value, s.Origin}
		if _, ok := at[k]; !ok {
			at[k] = len(out)
			out = append(out, s)
		}
		links[k] = append(links[k], parts[3])
		if l := links[k]; len(l) > 1 {
			out[at[k]].Key = k.head + ".{" + strings.Join(l, ",") + "}." + k.leaf
		}
	}
	return out
}
