package lab_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// checkedPlan is the lab of checks.yaml with a kind of director.
func checkedPlan(t testing.TB, kind string) *topology.Plan {
	t.Helper()
	data, err := os.ReadFile("testdata/checks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "checks.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "KIND", kind, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p, problems, err := topology.Open(file, labName("checks-"+kind))
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v\n%v", err, problems)
	}
	return p
}

// tableWords is a table as lines "port: host:weight host:weight", without what carries checks.
func tableWords(services []lb.Service) string {
	var lines []string
	for _, s := range services {
		if s.FWMark != 0 {
			continue
		}
		var words []string
		for _, d := range s.Destinations {
			host := d.Addr.AsSlice()
			last := int(host[len(host)-1])
			if d.Addr.Is6() {
				last = last>>4*10 + last&15 // written as a decimal
			}
			words = append(words, fmt.Sprintf("%d:%d", last, d.Weight))
		}
		slices.Sort(words)
		lines = append(lines, fmt.Sprintf("%d: %s", s.Port, strings.Join(words, " ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestChecks takes servers away and gives them back, with our director and with
// keepalived: both must come to the same tables. Ours asks DR and TUN servers at
// the VIP, through the table itself.
func TestChecks(t *testing.T) {
	needIPVS(t)
	for _, kind := range []string{"embedded", "keepalived"} {
		t.Run(kind, func(t *testing.T) {
			if kind == "keepalived" {
				probetest.Keepalived(t)
			}
			dir := stateRoot(t)
			p := checkedPlan(t, kind)
			// The same servers, but one, of which keepalived has no way to know.
			if kind == "keepalived" {
				p.Services = slices.DeleteFunc(p.Services, func(s topology.Service) bool { return s.Name == "at-vip" })
			}
			atVIP := func(line string) string {
				if kind == "keepalived" {
					return ""
				}
				return line + "\n"
			}
			l := up(t, p, lab.Options{})
			all := "53: 13:1\n" + atVIP("54: 11:1") + "80: 13:1\n81: 11:1 12:1\n82: 11:1 12:1\n" +
				"91: 11:1 12:1\n92: 11:1 12:1\n93: 13:1\n94: 11:1 12:1"
			rs1 := "\n91: 11:1\n92: 11:1"
			expectTable(t, l, "all up", all)
			ctx := t.Context()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(l.StopResponder(ctx, "rs2", "", 0))
			expectTable(t, l, "rs2 down", "53: 13:1\n"+atVIP("54: 11:1")+"80: 13:1\n81: 11:1 12:0\n82: 11:1"+rs1+"\n93: 13:1\n94: 11:1")
			must(l.StopResponder(ctx, "rs3", "", 0))
			must(l.StopResponder(ctx, "rs1", "udp", 0))
			expectTable(t, l, "rs3 and one at the VIP down too", "53: \n"+atVIP("54: ")+"80: 19:1\n81: 11:1 12:0\n82: 11:1"+rs1+"\n93: \n94: 11:1")
			must(l.StartResponder(ctx, "rs2", "", 0))
			must(l.StartResponder(ctx, "rs3", "", 0))
			must(l.StartResponder(ctx, "rs1", "udp", 0))
			expectTable(t, l, "all back", all)
			if kind == "embedded" {
				sawReason(t, l, "through the table, by mark")
			}
			must(l.Down(ctx))
			nothingLeft(t, dir, l.Name())
		})
	}
}

// expectTable waits until the director's table is what it should be.
func expectTable(t *testing.T, l *lab.Lab, when, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := tableWords(table(t, l))
		if got == want {
			return
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(l.Dir(), "directors", "director", "log"))
			t.Fatalf("%s: table\n%s\nwant\n%s\nthe director's log:\n%s", when, got, want, log)
		case <-tick.C:
		}
	}
}

// sawReason looks for a reason among the embedded director's events.
func sawReason(t *testing.T, l *lab.Lab, part string) {
	t.Helper()
	n, err := l.Node("director")
	if err != nil {
		t.Fatal(err)
	}
	client, err := n.Director()
	if err != nil {
		t.Fatal(err)
	}
	events, err := client.Events(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if strings.Contains(e.Text, part) {
			return
		}
	}
	t.Errorf("no event says %q: %+v", part, events)
}
