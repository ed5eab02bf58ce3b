package lab_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// TestReload changes a weight, a scheduler and a service of a lab that is up,
// with each kind of director: the table follows, connections go on.
func TestReload(t *testing.T) {
	needIPVS(t)
	serving := []string{"rs1: {role: realserver,", "rs1: {role: realserver, serve: [{tcp: 80}],", "rs2: {role: realserver,", "rs2: {role: realserver, serve: [{tcp: 80}],"}
	const script = `trap 'ipvsadm -C; ipvsadm-restore <$IPVSLAB_RULES' HUP; ipvsadm-restore <$IPVSLAB_RULES; while :; do sleep 0.1; done`
	for _, k := range []struct {
		name, director, service, how string
		long                         bool
	}{
		{"embedded", "embedded", "web: {", "4 changes to its table", false},
		{"embedded with checks", "embedded", checked, "it was told its services", false},
		{"keepalived", "keepalived", checked, "it has read its configuration again", false},
		{"keepalived of the user's", "{kind: keepalived, config: own.conf}", "web: {", "it has read its configuration again", true},
		{"ipvsadm", "ipvsadm", "web: {", "4 changes to its table", true},
		{"ipvsadm of the user's", "{kind: ipvsadm, rules: own.rules}", "web: {", "4 changes to its table", true},
		{"command", "{kind: command, argv: [sh, -c, '" + strings.ReplaceAll(script, "'", "''") + "']}", "web: {", "it was sent SIGHUP", true},
		{"command without a handler", "{kind: command, argv: [sh, -c, 'ipvsadm -C; ipvsadm-restore <$IPVSLAB_RULES && exec sleep 1000']}", "web: {", "restarted, for it does not catch SIGHUP", true},
	} {
		t.Run(k.name, func(t *testing.T) {
			if k.long && testing.Short() {
				t.Skip("in the long form")
			}
			if strings.HasPrefix(k.name, "keepalived") {
				probetest.Keepalived(t)
			}
			stateRoot(t)
			before := append([]string{"web: {", k.service, "nodes:\n", "director: " + k.director + "\nnodes:\n"}, serving...)
			after := append([]string{"realServers: [rs1, rs2]", "realServers: {rs1: 1, rs2: 5}"}, before...)
			after = append(after, "scheduler: rr", "scheduler: wrr", "services:\n", "services:\n  more: {vip: 10.9.0.100, port: 81, scheduler: rr, realServers: {rs1: {port: 80}}}\n")
			own := func(p *topology.Plan, weight, scheduler, more string) {
				d := p.Directors[0]
				if d.Config != "" {
					write(t, d.Config, "virtual_server 10.9.0.100 80 {\nlvs_sched "+scheduler+"\nlvs_method NAT\nprotocol TCP\nreal_server 10.9.1.11 80 { weight 1 }\nreal_server 10.9.1.12 80 { weight "+weight+" }\n}\n"+
						strings.ReplaceAll(more, "MORE", "virtual_server 10.9.0.100 81 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.9.1.11 80 { weight 1 }\n}\n"))
				}
				if d.Rules != "" {
					write(t, d.Rules, "-A -t 10.9.0.100:80 -s "+scheduler+"\n-a -t 10.9.0.100:80 -r 10.9.1.11 -m -w 1\n-a -t 10.9.0.100:80 -r 10.9.1.12 -m -w "+weight+"\n"+
						strings.ReplaceAll(more, "MORE", "-A -t 10.9.0.100:81 -s rr\n-a -t 10.9.0.100:81 -r 10.9.1.11:80 -m\n"))
				}
			}
			p := directed(t, k.name[:3], before...)
			own(p, "1", "rr", "")
			l := up(t, p, lab.Options{})
			tellLog(t, l, "director")
			streams := openStreams(t, l, 4)
			next := directed(t, k.name[:3], after...)
			next.Name = p.Name
			for i, d := range p.Directors { // the files stay where they are
				next.Directors[i].Config, next.Directors[i].Rules, next.Directors[i].Dir = d.Config, d.Rules, d.Dir
			}
			own(next, "5", "wrr", "MORE")
			now, done, err := l.Reload(t.Context(), next, lab.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(done) != 1 || done[0].How != k.how {
				t.Errorf("done %+v, want %q", done, k.how)
			}
			expectTable(t, now, "reloaded", "80: 11:1 12:5\n81: 11:1")
			if got := table(t, now)[0].Scheduler; got != "wrr" {
				t.Errorf("scheduler %s", got)
			}
			if !strings.HasPrefix(k.name, "command") { // whose own business it is
				alive(t, streams)
			}
			if again, err := lab.Load(p.Name); err != nil || len(again.Plan().Services) != 2 {
				t.Errorf("the record has %v, %v", again, err)
			}
		})
	}
}

// TestReloadRefuses what directors can't do, and does nothing then.
func TestReloadRefuses(t *testing.T) {
	needIPVS(t)
	probetest.Keepalived(t)
	stateRoot(t)
	p := directed(t, "refuse", "nodes:\n", "director: {kind: keepalived, config: own.conf}\nnodes:\n")
	conf := "virtual_server 10.9.0.100 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.9.1.11 80 { weight 1 }\nreal_server 10.9.1.12 80 { weight 1 }\n}\n"
	write(t, p.Directors[0].Config, conf)
	l := up(t, p, lab.Options{})
	other := directed(t, "refuse", "10.9.1.12", "10.9.1.13")
	other.Name = p.Name
	if _, _, err := l.Reload(t.Context(), other, lab.Options{}); !errors.Is(err, lab.ErrOtherLab) || !strings.Contains(err.Error(), "node rs2 (interfaces)") ||
		!strings.Contains(err.Error(), "rs2, up: address 10.9.1.12/24") || !strings.Contains(err.Error(), "rs2, the file: address 10.9.1.13/24") {
		t.Errorf("another address: %v", err)
	}
	write(t, p.Directors[0].Config, strings.Replace(conf, "lvs_method", "lvs_mehtod", 1))
	same := *l.Plan()
	if _, _, err := l.Reload(t.Context(), &same, lab.Options{}); !errors.Is(err, lab.ErrDirectorConfig) || !strings.Contains(err.Error(), "Unknown keyword 'lvs_mehtod'") {
		t.Errorf("a word that keepalived doesn't know: %v", err)
	}
	expectTable(t, l, "refused", "80: 11:1 12:1")
}

// TestReloadOtherKind swaps what runs a director: the table stays what it was.
func TestReloadOtherKind(t *testing.T) {
	needIPVS(t)
	probetest.Keepalived(t)
	stateRoot(t)
	p := directed(t, "kind", "nodes:\n", "director: keepalived\nnodes:\n")
	l := up(t, p, lab.Options{})
	for _, step := range []struct{ kind, how string }{
		{"embedded", "3 changes to its table"}, // keepalived has cleared it at its end
		{"ipvsadm", "0 changes to its table"},
		{"keepalived", "started, for there is something to watch now"},
	} {
		next := directed(t, "kind", "nodes:\n", "director: "+step.kind+"\nnodes:\n")
		next.Name = p.Name
		now, done, err := l.Reload(t.Context(), next, lab.Options{})
		if err != nil {
			t.Fatalf("%s: %v", step.kind, err)
		}
		if len(done) != 1 || done[0].How != step.how {
			t.Errorf("%s: done %+v, want %q", step.kind, done, step.how)
		}
		expectTable(t, now, step.kind, "80: 11:1 12:1")
		l = now
	}
}

// tellLog shows what a director has said, if the test fails.
func tellLog(t *testing.T, l *lab.Lab, node string) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		if n, err := l.Node(node); err == nil {
			log, err := n.DirectorLog()
			t.Logf("director %s said (%v):\n%s", node, err, log)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}
