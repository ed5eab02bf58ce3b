package predict

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// String is the event as a line of a script.
func (e Event) String() string {
	words := []string{string(e.Verb)}
	switch e.Verb {
	case EditService:
		return serviceWords(e.Service)
	case RemoveService:
	case Remove:
		words = append(words, e.Dest.DestKey.String())
	case Add, Edit:
		words = append(words, destWords(e.Dest))
	default:
		if e.Conn.Client.IsValid() {
			words = append(words, e.Conn.Client.String())
		}
		if e.Times > 1 {
			words = append(words, fmt.Sprintf("x%d", e.Times))
		}
		if e.Conn.Virtual.IsValid() {
			words = append(words, "via", e.Conn.Virtual.String())
		}
		if e.Conn.Protocol != 0 {
			words = append(words, e.Conn.Protocol.String())
		}
	}
	return strings.Join(words, " ")
}

func destWords(d lb.Destination) string {
	s := fmt.Sprintf("%v weight %d", d.DestKey, d.Weight)
	if d.Upper != 0 {
		s += fmt.Sprintf(" upper %d", d.Upper)
	}
	if d.Lower != 0 {
		s += fmt.Sprintf(" lower %d", d.Lower)
	}
	return s
}

// String is the whole script, as Parse reads it.
func (in Input) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, serviceWords(in.Service))
	b.WriteString(in.Rules())
	for _, d := range in.Service.Destinations {
		fmt.Fprintf(&b, "add %s\n", destWords(d))
	}
	for _, e := range in.Events {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

func serviceWords(s lb.Service) string {
	words := fmt.Sprintf("service %s %s", keyWords(s.Key), s.Scheduler)
	if f := flagWords(s); f != "" {
		words += " flags " + f
	}
	if s.Timeout > 0 {
		words += fmt.Sprintf(" persistent %d", int(s.Timeout.Seconds()))
	}
	if s.MaskBits != 0 {
		words += fmt.Sprintf(" mask %d", s.MaskBits)
	}
	return words
}

// kernelWords name the rules that differ between kernels; ones not known are left out.
var kernelWords = []struct {
	word     string
	overhead oracle.Overhead
	overload oracle.Overload
}{
	{"inactive", oracle.ActiveInactive, ""},
	{"total", oracle.ActiveTotal, ""},
	{"bind", "", oracle.OnBind},
	{"crossing", "", oracle.OnCrossing},
}

// Rules are the script's lines about the kernel and its settings.
func (in Input) Rules() string {
	var b strings.Builder
	for _, w := range kernelWords {
		if in.Variant.Overhead == w.overhead && w.overhead != "" || in.Variant.Overload == w.overload && w.overload != "" {
			fmt.Fprintf(&b, "kernel %s\n", w.word)
		}
	}
	for _, set := range []struct {
		on   bool
		name string
	}{
		{in.Variant.Settings.ExpireQuiescentTemplate, "expire-quiescent-template"},
		{in.Variant.Settings.ExpireNodestConn, "expire-nodest-conn"},
		{in.Variant.Settings.NoConnReuse, "no-conn-reuse"},
	} {
		if set.on {
			fmt.Fprintf(&b, "setting %s\n", set.name)
		}
	}
	return b.String()
}

func keyWords(k lb.Key) string {
	if k.FWMark != 0 {
		return fmt.Sprintf("fwmark%d %d", k.Family, k.FWMark)
	}
	return k.String()
}

func flagWords(s lb.Service) string {
	names := FlagNames(s)
	if s.Flags&lb.OnePacket != 0 {
		names = append([]string{"ops"}, names...)
	}
	return strings.Join(names, ",")
}

// FlagNames are a service's scheduler flags by their names.
func FlagNames(s lb.Service) (names []string) {
	for _, f := range flagNames {
		ours := strings.HasPrefix(f.name, "mh-") == (s.Scheduler == "mh")
		if ours && f.flag != lb.OnePacket && s.Flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// WriteText writes the steps as a table, one line each, with the connections
// of every destination afterwards (active+inactive, "!" when overloaded), and
// the sums.
func (r Result) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s, scheduler %s\n\n", r.Service, r.Scheduler)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "#\tEVENT\tPICKED\tAFTERWARDS, NEWEST FIRST")
	for i, s := range r.Steps {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", i+1, s.Event, s.pick(), stateWords(s.Destinations))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write prediction: %w", err)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", sumWords(r.Picks))
	return err
}

func (s Step) pick() string {
	if s.Chances == nil {
		return s.Picked
	}
	var words []string
	for _, c := range s.Chances {
		words = append(words, fmt.Sprintf("%s %.1f%%", c.Dest, 100*c.Probability))
	}
	return strings.Join(words, ", ")
}

func stateWords(states []State) string {
	var words []string
	for _, d := range states {
		mark := ""
		if d.Overloaded {
			mark = "!"
		}
		words = append(words, fmt.Sprintf("%s %d+%d%s", d.Dest, d.Active, d.Inactive, mark))
	}
	return strings.Join(words, ", ")
}

func sumWords(picks map[string]int) string {
	var words []string
	for _, dest := range slices.Sorted(maps.Keys(picks)) {
		words = append(words, fmt.Sprintf("%s: %d", dest, picks[dest]))
	}
	if words == nil {
		return "no connection is certain"
	}
	return "connections by destination: " + strings.Join(words, ", ")
}
