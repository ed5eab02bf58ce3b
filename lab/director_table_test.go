package lab_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

var update = flag.Bool("update", false, "write the table of docs/directors.md")

// The kinds of director in the table, and the nodes of zoo.yaml that are such.
var zooKinds = []struct{ kind, first, second string }{
	{"embedded", "e1", "e2"}, {"keepalived", "k1", "k2"}, {"ipvsadm", "r1", ""}, {"command", "c1", ""},
}

// ability is a row of the table: what a director does. It is looked for in what
// the first director's table has of a service, "host:weight ..." sorted.
type ability struct {
	what    string
	service string
	table   string // the words that show it
	before  string // what the table must have had when all was well; empty: never mind
}

// What is seen when all is well, when rs2 is gone (and with it the command's
// file), and when it is back.
var (
	calm = []ability{
		{what: "NAT, weights", service: "nat", table: "11:3 12:0"},
		{what: "direct routing", service: "dr", table: "11:1"},
		{what: "tunnel: ipip", service: "tun", table: "11:1"},
		{what: "tunnel: gue", service: "gue", table: "11:1"},
		{what: "tunnel: gre", service: "gre", table: "11:1"},
		{what: "persistence with a mask", service: "persistence", table: "11:1"},
		{what: "scheduler flags", service: "flags", table: "11:1"},
		{what: "one-packet scheduling", service: "ops", table: "11:1"},
		{what: "thresholds", service: "thresholds", table: "11:1"},
	}
	trouble = []ability{
		{what: "check: tcp", service: "tcp", table: "11:1", before: "11:1 12:1"},
		{what: "check: http", service: "http", table: "11:1", before: "11:1 12:1"},
		{what: "check: udp", service: "udp", table: "11:1", before: "11:1 12:1"},
		{what: "check: grpc (to servers that speak http)", service: "grpc"},
		{what: "check: command", service: "command", before: "11:1"},
		{what: "check: several, of a real server's own", service: "own", table: "12:1", before: "11:1 12:1"},
		{what: "check: at the VIP, of a DR server that listens there alone", service: "at-vip", before: "12:1"},
		{what: "check: at the VIP, through the tunnel of a TUN server", service: "at-vip-tunnel", before: "12:1"},
		{what: "down: weight 0 (inhibit)", service: "inhibit", table: "11:1 12:0", before: "11:1 12:1"},
		{what: "quorum and sorry server", service: "quorum", table: "19:1", before: "11:1 12:1"},
	}
	healed = []ability{
		{what: "a server that is back takes connections again", service: "http", table: "11:1 12:1"},
	}
)

// zoo is the lab of zoo.yaml, with the services of each first director.
func zoo(t *testing.T, file string) *topology.Plan {
	t.Helper()
	data, err := os.ReadFile("testdata/zoo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var services strings.Builder
	for i, k := range zooKinds {
		for _, m := range regexp.MustCompile(`(?m)^  ([a-z-]+): &([a-z]+) \{port`).FindAllStringSubmatch(string(data), -1) {
			fmt.Fprintf(&services, "  %s-%s: {<<: *%s, vip: 10.9.0.%d, scheduler: %s, directors: %s}\n",
				k.first, m[1], m[2], 100+i, map[bool]string{true: "sh", false: "rr"}[m[1] == "flags"], k.first)
		}
	}
	text := strings.Replace(string(data), "  # DIRECTORS\n", services.String(), 1)
	text = strings.ReplaceAll(text, "FILE", file)
	path := filepath.Join(t.TempDir(), "zoo.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, problems, err := topology.Open(path, labName("zoo"))
	if err != nil {
		t.Fatalf("%v\n%v", err, problems)
	}
	return p
}

// TestZooIsPlanned keeps the lab of the long test below up to date.
func TestZooIsPlanned(t *testing.T) {
	if p := zoo(t, "/some/file"); len(p.Services) != len(zooKinds)*(len(calm)+len(trouble)) {
		t.Errorf("%d services", len(p.Services))
	}
}

// seen is what of the abilities shows now, by row and kind.
type seen map[string]map[string]bool

func (s seen) set(what, kind string, yes bool) {
	if s[what] == nil {
		s[what] = map[string]bool{}
	}
	s[what][kind] = yes
}

// look looks at all first directors' tables.
func (s seen) look(t *testing.T, l *lab.Lab, list []ability) {
	t.Helper()
	for _, k := range zooKinds {
		have := map[string]string{}
		for _, v := range tableOf(t, l, k.first) {
			var words []string
			for _, d := range v.Destinations {
				words = append(words, fmt.Sprintf("%d:%d", d.Addr.As4()[3], d.Weight))
			}
			slices.Sort(words)
			have[fmt.Sprint(v.Port)] = strings.Join(words, " ")
		}
		for _, a := range list {
			p := l.Plan()
			i := slices.IndexFunc(p.Services, func(v topology.Service) bool { return v.Name == k.first+"-"+a.service })
			got, there := have[fmt.Sprint(p.Services[i].Spec.Port)]
			s.set(a.what, k.kind, there && got == a.table && (a.before == "" || s[beforeOf(a)][k.kind]))
		}
	}
}

// await looks until what is seen is as the documentation has it; with -update,
// or if it is not, as long as anything may still come.
func (s seen) await(t *testing.T, l *lab.Lab, list []ability, documented seen) {
	t.Helper()
	within := 20 * time.Second // for what must come; what must not is not waited for
	if *update {
		within = 8 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		s.look(t, l, list)
		same := !*update
		for _, a := range list {
			same = same && cmp.Equal(s[a.what], documented[a.what])
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if same {
				return
			}
		}
	}
}

// beforeOf names what was seen of an ability's service when all was well.
func beforeOf(a ability) string { return "before " + a.service }

// befores are what must be seen of the services of abilities when all is well.
func befores(list []ability) (out []ability) {
	for _, a := range list {
		if a.before != "" {
			out = append(out, ability{what: beforeOf(a), service: a.service, table: a.before})
		}
	}
	return out
}

const (
	directorsDoc = "../docs/directors.md"
	tableBegin   = "<!-- The table is made of what was seen, by go test ./lab -run TestDirectorsTable -update -->\n"
	tableEnd     = "<!-- The end of the table -->\n"
)

// TestDirectorsTable sees what each kind of director does, and holds the table
// in the documentation against it.
func TestDirectorsTable(t *testing.T) {
	if testing.Short() {
		t.Skip("five directors and nine checks each: in the long form")
	}
	needIPVS(t)
	probetest.Keepalived(t)
	doc, err := os.ReadFile(directorsDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := bytes.Cut(doc, []byte(tableBegin))
	old, tail, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the marks around its table", directorsDoc)
	}
	documented := parseTable(string(old))
	stateRoot(t)
	file := filepath.Join(t.TempDir(), "well")
	touch := func() {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch()
	l := up(t, zoo(t, file), lab.Options{})
	got := seen{}
	got.await(t, l, calm, documented)
	for _, a := range trouble { // whoever checks nothing leaves the servers where they are
		for _, k := range zooKinds {
			documented.set(beforeOf(a), k.kind, documented[a.what][k.kind] || k.second == "")
		}
	}
	got.await(t, l, befores(trouble), documented)
	if err := errors.Join(l.StopResponder(t.Context(), "rs2", "", 0), os.Remove(file)); err != nil {
		t.Fatal(err)
	}
	got.await(t, l, trouble, documented)
	touch()
	if err := l.StartResponder(t.Context(), "rs2", "", 0); err != nil {
		t.Fatal(err)
	}
	got.await(t, l, healed, documented)
	for _, k := range zooKinds { // without checks nobody was ever gone
		if !got["check: http"][k.kind] {
			got.set(healed[0].what, k.kind, false)
		}
	}
	rows := append(slices.Concat(calm, trouble, healed), leave(t, l, got)...)
	table := writeTable(rows, got)
	if *update {
		if err := os.WriteFile(directorsDoc, slices.Concat(head, []byte(tableBegin), []byte(table), []byte(tableEnd), tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(old), table); d != "" {
		t.Errorf("%s is out of date (-documented +seen):\n%s", directorsDoc, d)
	}
}

// leave ends the first directors cleanly, and sees who takes over and what is left.
func leave(t *testing.T, l *lab.Lab, got seen) []ability {
	t.Helper()
	rows := []ability{
		{what: "takes part in a failover group"},
		{what: "hands its addresses over on a clean stop"},
		{what: "a clean stop leaves the table as it is"},
	}
	for _, k := range zooKinds {
		if k.second == "" {
			for _, r := range rows[:2] {
				got.set(r.what, k.kind, false)
			}
			got.set(rows[2].what, k.kind, true) // a rules file is no process, and a script may leave it
			continue
		}
		holder, err := l.Holder(k.kind)
		if err != nil {
			t.Fatal(err)
		}
		got.set(rows[0].what, k.kind, holder == k.first)
		s, err := l.Status()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.Directors, func(d lab.DirectorStatus) bool { return d.Node == k.first })
		if err := syscall.Kill(s.Directors[i].PID, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for over := false; !over; {
			if holder, err = l.Holder(k.kind); err != nil {
				t.Fatal(err)
			}
			if s, err = l.Status(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ctx.Done():
				over = true
			case <-tick.C:
				over = holder == k.second && s.Directors[i].State == "has ended"
			}
		}
		got.set(rows[1].what, k.kind, holder == k.second)
		services := slices.DeleteFunc(tableOf(t, l, k.first), func(s lb.Service) bool { return s.FWMark != 0 })
		got.set(rows[2].what, k.kind, len(services) == len(calm)+len(trouble))
	}
	return rows
}

func writeTable(rows []ability, got seen) string {
	var b strings.Builder
	b.WriteString("\n| |")
	for _, k := range zooKinds {
		b.WriteString(" " + k.kind + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(zooKinds)) + "\n")
	for _, r := range rows {
		b.WriteString("| " + r.what + " |")
		for _, k := range zooKinds {
			switch {
			case got[r.what][k.kind]:
				b.WriteString(" yes |")
			case k.kind == "command":
				b.WriteString(" up to it |")
			default:
				b.WriteString(" no |")
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	return b.String()
}

func parseTable(text string) seen {
	s := seen{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 1+len(zooKinds) {
			continue
		}
		for i, k := range zooKinds {
			s.set(strings.TrimSpace(cells[0]), k.kind, strings.TrimSpace(cells[i+1]) == "yes")
		}
	}
	return s
}

// TestControllersAreDocumented holds the documentation's controllers against those of the examples.
func TestControllersAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(directorsDoc)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"controller.sh", "controller/main.go"} {
		text, err := os.ReadFile("../examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(text, []byte("func run(")); at > 0 {
			text = text[at:]
		}
		if !bytes.Contains(doc, text) {
			t.Errorf("%s does not show examples/%s as it is", directorsDoc, file)
		}
	}
}
