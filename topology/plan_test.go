package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"
)

var comparers = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
	cmpopts.EquateEmpty(),
}

// compact is a plan's addresses, routes and servers, by node.
func compact(p *Plan) map[string][]string {
	out := map[string][]string{}
	for _, n := range p.Nodes {
		add := func(words ...string) { out[n.Name] = append(out[n.Name], strings.Join(words, " ")) }
		for _, i := range n.Interfaces {
			for _, a := range i.Addresses {
				add(a.Prefix.String(), i.Name)
			}
		}
		for _, a := range n.Loopback {
			add(a.Prefix.String(), "lo")
		}
		for _, r := range n.Routes {
			add(r.To.String(), "via", r.Via.String())
		}
		for _, r := range n.Responders {
			add(r.Protocol, itoa(int(r.Port)), listenOn(r))
		}
	}
	return out
}

// Two networks: client -- director -- rs1, rs2.
func TestNATRealServersAnswerThroughTheirDirector(t *testing.T) {
	plan, problems, err := Open("../examples/minimal.yaml", "")
	if err != nil || len(problems) > 0 {
		t.Fatalf("open: %v; problems:\n%v", err, problems)
	}
	want := map[string][]string{
		"client":   {"10.0.0.2/24 outside"},
		"director": {"10.0.0.1/24 outside", "10.0.0.100/32 outside", "10.1.0.1/24 inside"},
		"rs1":      {"10.1.0.11/24 inside", "0.0.0.0/0 via 10.1.0.1", "http 80 on any address, port 80"},
		"rs2":      {"10.1.0.12/24 inside", "0.0.0.0/0 via 10.1.0.1", "http 80 on any address, port 80"},
	}
	if d := cmp.Diff(want, compact(plan)); d != "" {
		t.Errorf("addresses, routes and servers (-want +got):\n%s", d)
	}
}

// One network: client, director and rs1 to rs3.
func TestDRRealServersHideTheirVIP(t *testing.T) {
	plan, _, err := Open("../examples/dr.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"10.0.0.11/24 lan", "10.0.0.100/32 lo", "http 80 on any address, port 80", "udp 53 on 10.0.0.100, port 53",
	}
	if d := cmp.Diff(want, compact(plan)["rs1"]); d != "" {
		t.Errorf("rs1 (-want +got):\n%s", d)
	}
	got := map[string]string{}
	for _, n := range plan.Nodes {
		for _, s := range n.Sysctls {
			got[n.Name+" "+s.Key] = s.Value
		}
	}
	for key, value := range map[string]string{
		"rs1 net.ipv4.conf.all.arp_ignore":      "1",
		"rs1 net.ipv4.conf.lan.arp_ignore":      "1",
		"rs1 net.ipv4.conf.lan.arp_announce":    "2",
		"director net.ipv4.conf.lan.arp_ignore": "0",
		"director net.ipv4.ip_forward":          "0", // dr alone needs none
	} {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
}

// Whatever a sysctl inherits from the host would make the lab differ by host.
func TestEveryNodePinsItsSettings(t *testing.T) {
	for _, path := range files(t, "../examples/*.yaml") {
		plan, _, err := Open(path, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range plan.Nodes {
			got := map[string]bool{}
			for _, s := range n.Sysctls {
				if got[s.Key] {
					t.Errorf("%s: %s sets %s twice", path, n.Name, s.Key)
				}
				got[s.Key] = true
			}
			links := []string{"all", "default"}
			for _, i := range n.Interfaces {
				links = append(links, i.Name)
			}
			for _, l := range links {
				for _, leaf := range []string{"rp_filter", "arp_ignore", "arp_announce", "send_redirects", "accept_redirects"} {
					if key := "net.ipv4.conf." + l + "." + leaf; !got[key] {
						t.Errorf("%s: %s does not pin %s", path, n.Name, key)
					}
				}
			}
			if !got["net.ipv4.ip_forward"] || !got["net.ipv6.conf.all.disable_ipv6"] {
				t.Errorf("%s: %s leaves forwarding or IPv6 to the host", path, n.Name)
			}
		}
	}
}

func TestPlanIsDeterministicAndSurvivesJSON(t *testing.T) {
	for _, path := range append(files(t, "../examples/*.yaml"), files(t, "testdata/valid-*.yaml")...) {
		first, _, err := Open(path, "same")
		if err != nil {
			t.Fatal(err)
		}
		second, _, _ := Open(path, "same")
		if d := cmp.Diff(first, second, comparers); d != "" {
			t.Errorf("%s gives two plans (-first +second):\n%s", path, d)
		}
		var buf bytes.Buffer
		if err := WriteJSON(&buf, first); err != nil {
			t.Fatal(err)
		}
		var back Plan
		if err := json.Unmarshal(buf.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(first, &back, comparers); d != "" {
			t.Errorf("%s changes in JSON (-want +got):\n%s", path, d)
		}
	}
}

func TestYAMLFormHoldsTheSameAsJSON(t *testing.T) {
	plan, _, err := Open("../examples/three-directors.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	var j, y bytes.Buffer
	if err := errors.Join(WriteJSON(&j, plan), WriteYAML(&y, plan)); err != nil {
		t.Fatal(err)
	}
	var fromJSON, fromYAML any
	if err := errors.Join(yaml.Unmarshal(j.Bytes(), &fromJSON), yaml.Unmarshal(y.Bytes(), &fromYAML)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(fromJSON, fromYAML); d != "" {
		t.Errorf("(-json +yaml):\n%s", d)
	}
	if !strings.HasPrefix(y.String(), "name: three-directors\n") {
		t.Errorf("not in block style:\n%.80s", y.String())
	}
}

func TestOneFileUnderTwoNamesSharesNoHardwareAddress(t *testing.T) {
	a, _, err := Open("../examples/minimal.yaml", "one")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := Open("../examples/minimal.yaml", "two")
	if err != nil {
		t.Fatal(err)
	}
	if a.Name != "one" || b.Name != "two" {
		t.Errorf("names %q and %q", a.Name, b.Name)
	}
	macs := map[string]bool{}
	for _, p := range []*Plan{a, b} {
		for _, n := range p.Nodes {
			for _, i := range n.Interfaces {
				hw, err := net.ParseMAC(i.MAC)
				if err != nil || hw[0]&3 != 2 {
					t.Errorf("%s of %s: %q is no local unicast address (%v)", i.Name, n.Name, i.MAC, err)
				}
				if macs[i.MAC] {
					t.Errorf("%s twice", i.MAC)
				}
				macs[i.MAC] = true
			}
		}
	}
}

func TestLoadOfNoFile(t *testing.T) {
	if _, _, err := Open("testdata/there-is-none.yaml", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an fs.ErrNotExist", err)
	}
	if _, _, err := Open("testdata", ""); err == nil {
		t.Error("a directory was read")
	}
}

func TestHugeFileIsRefused(t *testing.T) {
	path := t.TempDir() + "/huge.yaml"
	if err := os.WriteFile(path, bytes.Repeat([]byte("# far too much\n"), maxBytes/10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path, ""); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"a/b/article.yaml": "article", "my lab.v2.yml": "my-lab-v2", "-.yaml": "lab", "": "lab", `c:\x\y.yaml`: "y",
		strings.Repeat("n", 80): strings.Repeat("n", 63),
	} {
		if got := labName(in); got != want {
			t.Errorf("labName(%q) = %q, want %q", in, got, want)
		}
	}
	words := []string{"role", "routes", "rules", "interfaces"}
	for in, want := range map[string]string{"rôle": "role", "route": "routes", "Interface": "interfaces", "x": "", "zzzzzz": ""} {
		if got := nearest(in, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAddressesCountUp(t *testing.T) {
	for _, c := range []struct {
		from string
		n    int
		want string
	}{
		{"10.0.0.254", 0, "10.0.0.254"},
		{"10.0.0.254", 3, "10.0.1.1"},
		{"10.0.0.1", 70000, "10.1.17.113"},
		{"fd00::ffff", 1, "fd00::1:0"},
	} {
		if got := addN(netip.MustParseAddr(c.from), c.n).String(); got != c.want {
			t.Errorf("addN(%s, %d) = %s, want %s", c.from, c.n, got, c.want)
		}
	}
}

func TestSysctlKeysStayInTheNamespace(t *testing.T) {
	for key, want := range map[string]bool{
		"net.ipv4.ip_forward": true, "net.ipv4.conf.eth0/1.rp_filter": true, "net.ipv4.vs.conntrack": true,
		"kernel.panic": false, "net": false, "net..ipv4": false, "net.//.x": false, "net.ipv4.": false,
		"net/ipv4/ip_forward": false, "net.ipv4.a b": false, "": false,
	} {
		if got := validKey(key); got != want {
			t.Errorf("validKey(%q) = %t", key, got)
		}
	}
}

// FuzzParse proves that no text makes the reader panic or plan without saying why not.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../examples/*.yaml"} {
		for _, path := range files(&testing.T{}, pattern) {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if !bytes.Contains(data, []byte("10000")) { // slow, and no more than one replica shows
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		top, err := Parse("fuzz.yaml", data)
		if top == nil {
			if err == nil {
				t.Fatal("neither topology nor error")
			}
			return
		}
		plan, problems := top.Plan(Options{})
		if (plan == nil) != (problems.Err() != nil) {
			t.Fatalf("plan %t with problems %v", plan != nil, problems)
		}
		if err != nil && plan != nil {
			t.Fatalf("a plan in spite of %v", err)
		}
		if plan != nil {
			if err := Describe(&bytes.Buffer{}, plan); err != nil {
				t.Fatal(err)
			}
		}
	})
}
