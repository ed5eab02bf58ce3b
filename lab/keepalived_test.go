package lab_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// ownKeepalived is a topology of testdata/keepalived with copies of its files,
// in one of which texts are replaced by others.
func ownKeepalived(t *testing.T, name, file string, replace ...string) *topology.Plan {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/keepalived")); err != nil {
		t.Fatal(err)
	}
	if file != "" {
		path := filepath.Join(dir, file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(replace); i += 2 {
			if !strings.Contains(string(data), replace[i]) {
				t.Fatalf("%s has no %q", file, replace[i])
			}
			data = []byte(strings.Replace(string(data), replace[i], replace[i+1], 1))
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, problems, err := topology.Open(filepath.Join(dir, name+".yaml"), labName(name))
	if err != nil {
		t.Fatalf("%v\n%v", err, problems)
	}
	return p
}

// TestKeepalivedFiles runs configurations as people have them, each as it is,
// with a topology of ten lines: up says that the table is what the topology
// says and that the addresses are there, and a client is served.
func TestKeepalivedFiles(t *testing.T) {
	needIPVS(t)
	probetest.Keepalived(t)
	for _, c := range []struct {
		name, url string
		warns     []string
	}{
		{name: "nat", url: "http://10.23.8.80/"},
		{name: "dr", url: "http://10.4.7.10:6443/", warns: []string{"nb_get_retry is deprecated"}},
		{name: "shop", url: "http://10.0.0.100:443/", warns: []string{"protocol will be ignored"}},
		{name: "site", url: "http://10.0.0.100/", warns: []string{"script_security not enabled"}},
		{name: "many", url: "http://10.0.0.102/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "dr" && c.name != "site" {
				t.Skip("the others are in the long form")
			}
			dir := stateRoot(t)
			var said []string
			l := up(t, ownKeepalived(t, c.name, ""), lab.Options{Warn: func(text string) { said = append(said, text) }})
			if out := run(t, l, "client", "curl -sS --max-time 20 "+c.url); !slices.Contains([]string{"api", "rs-", "web"}, strings.TrimSpace(out)[:3]) {
				t.Errorf("%s answers %q", c.url, out)
			}
			for _, want := range c.warns {
				if !strings.Contains(strings.Join(said, "\n"), want) {
					t.Errorf("warnings %q, want one about %q", said, want)
				}
			}
			if len(c.warns) == 0 && len(said) > 0 {
				t.Errorf("warnings %q", said)
			}
			if err := l.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, dir, l.Name())
		})
	}
}

// TestKeepalivedMistakes makes mistakes in them. Each is told in words that
// need no knowledge of ipvslab.
func TestKeepalivedMistakes(t *testing.T) {
	needIPVS(t)
	probetest.Keepalived(t)
	for _, c := range []struct {
		what, name, file string
		replace          []string
		want             []string
		long             bool
	}{
		{
			"method, port, and weight", "dr", "dr.conf",
			[]string{"lb_algo rr", "lb_algo wrr", "lb_kind DR", "lb_kind NAT", "10.4.7.12 6443", "10.4.7.12 6444", "weight 1\n", "weight 3\n"},
			[]string{
				"tcp 10.4.7.10:6443: scheduler is wrr, planned is rr",
				"real server 10.4.7.11:6443: forwarding method is nat, planned is dr; weight is 3, planned is 1",
				"real server 10.4.7.12:6443 is missing", "[10.4.7.12]:tcp:6444",
			},
			true, // it waits for the deadline
		},
		{
			"another mark", "shop", "shop.conf",
			[]string{"fwmark 80", "fwmark 81"},
			[]string{"service shop (fwmark 80) is not in the table, which has fwmark 81"},
			true,
		},
		{
			"another interface", "dr", "dr.conf",
			[]string{"ens33", "eth0"},
			[]string{"interface eth0", "doesn't exist", "The interfaces of node lb are ens33 (10.4.7.5/24).", "lan: {name: eth0, addresses: [10.4.7.5]}"},
			false,
		},
		{
			"a script that is not there", "dr", "dr.conf",
			[]string{`"/bin/true"`, `"/etc/keepalived/check_api.sh"`},
			[]string{"track script check_api since not found/accessible", "A script must be there and executable"},
			false,
		},
		{
			"a file that is not there", "site", "site.conf",
			[]string{"conf.d/*.conf", "conf.d/site.conf"},
			[]string{"Config files missing 'conf.d/site.conf'"},
			true,
		},
		{
			"a word that keepalived doesn't know", "many", "many.conf",
			[]string{"lb_kind", "lb_kidn"},
			[]string{"Unknown keyword 'lb_kidn'", "allow: [director-config]"},
			true,
		},
		{
			"an address less", "site", "conf.d/vrrp.conf",
			[]string{"        $VIP\n", "        10.0.0.101\n"},
			[]string{"director lb1 lacks 10.0.0.100, and has 10.1.0.1", "director lb2 lacks 10.0.0.100"},
			true,
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			if testing.Short() && c.long {
				t.Skip("in the long form")
			}
			dir := stateRoot(t)
			p := ownKeepalived(t, c.name, c.file, c.replace...)
			_, err := lab.Up(t.Context(), p, lab.Options{})
			if err == nil {
				t.Fatal("nothing is said")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
			nothingLeft(t, dir, p.Name)
		})
	}
}

// TestKeepalivedAllowed runs what keepalived has something against, where the
// topology allows it, and passes on what it says.
func TestKeepalivedAllowed(t *testing.T) {
	if testing.Short() {
		t.Skip("in the long form")
	}
	needIPVS(t)
	probetest.Keepalived(t)
	stateRoot(t)
	p := ownKeepalived(t, "shop", "shop.conf", "    delay_loop 2", "    delay_loop 2\n    net_mask 255.255.255.0")
	p.Directors[0].Lax = true // allow: [director-config]
	var said []string
	up(t, p, lab.Options{Warn: func(text string) { said = append(said, text) }})
	if all := strings.Join(said, "\n"); !strings.Contains(all, "Unknown keyword 'net_mask'") {
		t.Errorf("warnings %q", said)
	}
}
