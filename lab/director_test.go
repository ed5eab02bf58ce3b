package lab_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// playedProgram is the program that this test's binary plays in the PATH of directors.
const playedProgram = "ipvsadm-restore"

// playProgram is ipvsadm-restore, if this process was called so.
func playProgram() {
	if filepath.Base(os.Args[0]) != playedProgram {
		return
	}
	ctx := context.Background()
	table, err := ipvs.Open(ctx, "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	env := ipvsadm.Env{Table: table, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(ipvsadm.RunRestore(ctx, env, os.Args))
}

// directed is the lab of nat.yaml with something else in place of a text.
func directed(t testing.TB, name string, replace ...string) *topology.Plan {
	t.Helper()
	data, err := os.ReadFile("testdata/nat.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(data), replace[i]) {
			t.Fatalf("nat.yaml has no %q", replace[i])
		}
	}
	file := filepath.Join(t.TempDir(), "nat.yaml")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replace...).Replace(string(data))), 0o600); err != nil {
		t.Fatal(err)
	}
	p, problems, err := topology.Open(file, labName(name))
	if err != nil {
		t.Fatalf("%v\n%v", err, problems)
	}
	return p
}

const checked = "web: {check: {tcp: true, interval: 100ms, timeout: 1s, warmUp: 0s}, "

// TestDirectors brings the same lab up with each kind of director.
func TestDirectors(t *testing.T) {
	needIPVS(t)
	kinds := []struct {
		name     string
		director string
		service  string
		process  bool
	}{
		{"embedded", "embedded", "web: {", false},
		{"embedded-checks", "embedded", checked, true},
		{"keepalived", "keepalived", "web: {", true},
		{"keepalived-checks", "keepalived", checked, true},
		{"ipvsadm", "ipvsadm", "web: {", false},
		{"ipvsadm-original", "{kind: ipvsadm, program: ipvsadm}", "web: {", false},
		{"command", "{kind: command, argv: [sh, -c, 'ipvsadm-restore <$IPVSLAB_RULES && exec sleep 1000']}", "web: {", true},
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			if strings.HasPrefix(k.name, "keepalived") {
				probetest.Keepalived(t)
			}
			if k.name == "ipvsadm-original" {
				probetest.Ipvsadm(t)
			}
			dir := stateRoot(t)
			p := directed(t, k.name, "web: {", k.service, "nodes:\n", "director: "+k.director+"\nnodes:\n")
			l := up(t, p, lab.Options{})
			s, err := l.Status()
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Directors) != 1 || (s.Directors[0].State == "runs") != k.process {
				t.Errorf("directors: %+v", s.Directors)
			}
			out := run(t, l, "client", "for i in 1 2; do curl -sS --max-time 2 http://10.9.0.100/; done")
			if got := strings.Fields(out); len(got) != 2 || got[0] == got[1] {
				t.Errorf("rr gave %q", got)
			}
			if err := l.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, dir, l.Name())
		})
	}
}

// TestKeepalivedTakesOver has a failover group in keepalived's hands: its
// generated configuration is one that keepalived accepts, and does what it says.
func TestKeepalivedTakesOver(t *testing.T) {
	needIPVS(t)
	probetest.Keepalived(t)
	dir := stateRoot(t)
	p := directed(t, "vrrp", "director: {role: director, interfaces: {outside: 10.9.0.1, inside: 10.9.1.1}}",
		"director: {role: director, interfaces: {outside: 10.9.0.1, inside: 10.9.1.1}}\n"+
			"  second: {role: director, interfaces: {outside: 10.9.0.3, inside: 10.9.1.3}}",
		"nodes:\n", "director: keepalived\n"+
			"failover: {main: {directors: [director, second], addresses: {inside: 10.9.1.254}, interval: 50ms, sync: follow}}\nnodes:\n",
		"realServers:", "directors: main, realServers:")
	l := up(t, p, lab.Options{})
	if out := run(t, l, "client", "curl -sS --max-time 2 http://10.9.0.100/"); !strings.HasPrefix(out, "rs") {
		t.Errorf("the VIP answers %q", out)
	}
	holder, err := l.Holder("main")
	if err != nil || holder == "" {
		t.Fatalf("holder %q, %v", holder, err)
	}
	s, err := l.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range s.Directors {
		if d.Node == holder { // ended cleanly it gives the addresses away at once
			if err := syscall.Kill(d.PID, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for next := holder; next == holder || next == ""; <-tick.C {
		if next, err = l.Holder("main"); err != nil || ctx.Err() != nil {
			t.Fatalf("nobody took over from %s: %v", holder, err)
		}
	}
	if out := run(t, l, "client", "curl -sS --max-time 2 http://10.9.0.100/"); !strings.HasPrefix(out, "rs") {
		t.Errorf("after the take-over the VIP answers %q", out)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
}

// TestDirectorFilesOfTheUser runs a configuration and rules of the user's own,
// which hold more than the topology file says.
func TestDirectorFilesOfTheUser(t *testing.T) {
	needIPVS(t)
	p := directed(t, "own", "nodes:\n", "director: {kind: ipvsadm, rules: my.rules}\nnodes:\n")
	rules := "# mine\n-A -t 10.9.0.100:80 -s rr\n-a -t 10.9.0.100:80 -r 10.9.1.11:80 -m\n-a -t 10.9.0.100:80 -r 10.9.1.12:80 -m\n-A -f 7 -s wlc\n"
	if err := os.WriteFile(p.Directors[0].Rules, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("ipvsadm", func(t *testing.T) {
		stateRoot(t)
		l := up(t, p, lab.Options{})
		if got := table(t, l); len(got) != 2 {
			t.Errorf("table %+v", got)
		}
	})
	t.Run("ipvsadm-refused", func(t *testing.T) {
		dir := stateRoot(t)
		bad := "-A -t 10.9.0.100:80 -s rr\n-A -t 10.9.0.100:80 -s rr\n"
		if err := os.WriteFile(p.Directors[0].Rules, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := lab.Up(t.Context(), p, lab.Options{})
		if err == nil || !strings.Contains(err.Error(), "Service already exists") || !strings.Contains(err.Error(), "my.rules") {
			t.Errorf("error %v", err)
		}
		nothingLeft(t, dir, p.Name)
	})
	t.Run("keepalived", func(t *testing.T) {
		probetest.Keepalived(t)
		stateRoot(t)
		p := directed(t, "ownconf", "nodes:\n", "director: {kind: keepalived, config: my.conf}\nnodes:\n")
		conf := `virtual_server 10.9.0.100 80 {
	lvs_sched rr
	lvs_method NAT
	protocol TCP
	real_server 10.9.1.11 80 { weight 1 }
	real_server 10.9.1.12 80 { weight 1 }
}
virtual_server fwmark 7 {
	lvs_sched wlc
	lvs_method NAT
	real_server 10.9.1.11 80 { weight 1 }
}
`
		if err := os.WriteFile(p.Directors[0].Config, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		l := up(t, p, lab.Options{})
		// It is ready when it has what the topology says; the rest comes soon.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for got := table(t, l); len(got) != 2; got = table(t, l) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("table %+v", got)
			}
		}
	})
}

// TestDirectorsThatFail sees that the reason is told, and that nothing is left.
func TestDirectorsThatFail(t *testing.T) {
	needIPVS(t)
	for _, c := range []struct{ name, director, want string }{
		{"no-keepalived", "{kind: keepalived, program: no-such-keepalived}", "install the package keepalived"},
		{"no-config", "{kind: keepalived, config: missing.conf}", "missing.conf"},
		{"no-rules", "{kind: ipvsadm, rules: missing.rules}", "missing.rules"},
		{"ends", "{kind: command, argv: [sh, -c, 'echo oops; exit 3'], ready: {log: never}}", "oops"},
		{"no-program", "{kind: command, argv: [./no-such-program]}", "no-such-program"},
		{"never-ready", "{kind: command, argv: [sleep, '1000'], ready: {log: never, within: 100ms}}", "not ready within 100ms"},
		{"no-table", "{kind: command, argv: [sh, -c, 'exec sleep 1000'], ready: {within: 200ms}}", "service web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "no-config" {
				probetest.Keepalived(t)
			}
			dir := stateRoot(t)
			p := directed(t, c.name, "nodes:\n", "director: "+c.director+"\nnodes:\n")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if _, err := lab.Up(ctx, p, lab.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
			nothingLeft(t, dir, p.Name)
		})
	}
}

// table is what the director's table holds.
func table(t testing.TB, l *lab.Lab) []lb.Service { return tableOf(t, l, "director") }

func tableOf(t testing.TB, l *lab.Lab, node string) []lb.Service {
	t.Helper()
	n, err := l.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := n.Table(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	services, err := tab.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(services, func(a, b lb.Service) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return services
}
