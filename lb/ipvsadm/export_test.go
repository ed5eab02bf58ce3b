package ipvsadm_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// fromRules reads a rules file that must be right.
func fromRules(t *testing.T, text string) []lb.Service {
	t.Helper()
	services, err := ipvsadm.ReadRules(strings.NewReader(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return services
}

func export(t *testing.T, services []lb.Service, d ipvsadm.Dialect) (string, []ipvsadm.Loss) {
	t.Helper()
	var out bytes.Buffer
	lost, err := ipvsadm.Export(&out, services, d, ipvsadm.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), lost
}

func TestExport(t *testing.T) {
	text, err := os.ReadFile("testdata/rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	services := fromRules(t, string(text))
	for _, d := range ipvsadm.Dialects {
		out, lost := export(t, services, d)
		for _, l := range lost {
			out += fmt.Sprintf("# lost: %s\n", l)
		}
		golden(t, "export-"+string(d)+".txt", []byte(out))
	}
	if _, err := ipvsadm.Export(&bytes.Buffer{}, services, "xml", ipvsadm.ExportOptions{}); err == nil {
		t.Error("a format that doesn't exist was written")
	}
}

// TestKeepalivedChecks writes every kind of check, and has keepalived itself
// read it, if there is one.
func TestKeepalivedChecks(t *testing.T) {
	keepalivedChecks(t, "valid-directors.yaml", "export-keepalived-checks.txt")
	keepalivedChecks(t, "valid-checks.yaml", "export-keepalived-own-checks.txt")
}

func keepalivedChecks(t *testing.T, file, want string) {
	t.Helper()
	file = "../../topology/testdata/" + file
	plan, _, err := topology.Open(file, "")
	if err != nil {
		t.Fatal(err)
	}
	var all []lb.Service
	known := map[lb.Key]health.Service{}
	for _, s := range plan.Services {
		all = append(all, s.Spec)
		known[s.Spec.Key] = s.Health()
	}
	var out bytes.Buffer
	lost, err := ipvsadm.Export(&out, all, ipvsadm.Keepalived, ipvsadm.ExportOptions{Health: func(k lb.Key) *health.Service {
		h := known[k]
		return &h
	}})
	if err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, l := range lost {
		text += fmt.Sprintf("# lost: %s\n", l)
	}
	golden(t, want, []byte(text))
	if !probetest.HaveKeepalived(t) {
		return
	}
	conf := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(conf, []byte("global_defs {\n    script_user root\n    enable_script_security\n}\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(probetest.Keepalived(t), "--config-test", "--use-file", conf).CombinedOutput(); err != nil {
		t.Errorf("keepalived: %v\n%s", err, said)
	}
}

// TestRulesRoundTrip writes tables that generated sequences leave, and reads them back.
func TestRulesRoundTrip(t *testing.T) {
	tables := 0
	for _, seq := range sequences(3, 500) {
		var in strings.Builder
		for _, c := range seq.lines {
			if c.stdin == "" {
				fmt.Fprintln(&in, strings.Join(c.argv[1:], " "))
			}
		}
		want, _ := ipvsadm.ReadRules(strings.NewReader(in.String()), nil, nil) // wrong lines are left out
		if len(want) > 0 {
			tables++
		}
		var whole bytes.Buffer
		if lost, err := ipvsadm.Export(&whole, want, ipvsadm.Rules, ipvsadm.ExportOptions{Thresholds: true}); err != nil || len(lost) > 0 {
			t.Fatal(lost, err)
		}
		if d := cmp.Diff(specs(want), specs(fromRules(t, whole.String()))); d != "" {
			t.Fatalf("with thresholds: %s\n(-written +read):\n%s", whole.String(), d)
		}
		text, lost := export(t, want, ipvsadm.Rules)
		got := fromRules(t, text)
		forgive(want, lost)
		if d := cmp.Diff(specs(want), specs(got)); d != "" {
			t.Fatalf("%s\nlost: %v\n(-written +read):\n%s", text, lost, d)
		}
	}
	if tables < 200 {
		t.Errorf("only %d tables held anything", tables)
	}
}

func specs(all []lb.Service) (out []string) {
	for _, s := range all {
		out = append(out, fmt.Sprintf("%+v", s.FullSpec()))
	}
	return out
}

// forgive takes away what was said to be lost.
func forgive(services []lb.Service, lost []ipvsadm.Loss) {
	for _, l := range lost {
		for i := range services {
			s := &services[i]
			if s.Key != l.Service {
				continue
			}
			for j := range s.Destinations {
				if d := &s.Destinations[j]; d.DestKey == l.Server {
					d.Upper, d.Lower = 0, 0
				}
			}
		}
	}
}

// TestYAMLIsATopology puts an exported table into a topology and plans it.
func TestYAMLIsATopology(t *testing.T) {
	want := fromRules(t, `-A -t 192.168.1.117:80 -s wrr -p 90 -M 255.255.255.0
-a -t 192.168.1.117:80 -r 172.10.100.130:80 -m -w 3 -x 9 -y 4
-a -t 192.168.1.117:80 -r 172.10.100.131:8080 -m -w 0
-A -u 192.168.1.117:53 -s sh -b sh-port,sh-fallback -o
-a -u 192.168.1.117:53 -r 172.10.100.131:53 -i --tun-type gue --tun-port 6080 --tun-csum
`)
	text, lost := export(t, want, ipvsadm.YAML)
	if len(lost) != 0 {
		t.Errorf("lost: %v", lost)
	}
	file := filepath.Join(t.TempDir(), "lab.yaml")
	text = `apiVersion: ipvslab/v1
allow: [public-addresses]
networks: {outside: 192.168.1.0/24, inside: 172.10.100.0/24}
nodes:
  client: {role: client, interfaces: {outside: 192.168.1.103}}
  master: {role: director, interfaces: {outside: 192.168.1.117, inside: 172.10.100.128}}
  rs-172-10-100-130: {role: realserver, interfaces: {inside: 172.10.100.130}}
  rs-172-10-100-131: {role: realserver, interfaces: {inside: 172.10.100.131}}
` + text
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plan, problems, err := topology.Open(file, "")
	if err != nil {
		t.Fatalf("%v\n%v\n%s", err, problems, text)
	}
	var got []lb.Service
	for _, s := range plan.Services {
		got = append(got, s.Spec)
	}
	if d := cmp.Diff(specs(want), specs(got)); d != "" {
		t.Errorf("%s\n(-exported +planned):\n%s", text, d)
	}
}

func TestYAMLTakesTheNodesNames(t *testing.T) {
	services := fromRules(t, "-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r 10.1.0.1 -m\n-a -t 10.0.0.1:80 -r 10.1.0.1:81 -m\n")
	var out bytes.Buffer
	_, err := ipvsadm.Export(&out, services, ipvsadm.YAML, ipvsadm.ExportOptions{
		Node: func(a netip.Addr) string { return map[string]string{"10.1.0.1": "real1"}[a.String()] },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"      real1: {address: 10.1.0.1, forwarding: nat, weight: 1}\n",
		"      real1-81: {address: 10.1.0.1, node: real1, forwarding: nat, port: 81, weight: 1}\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
