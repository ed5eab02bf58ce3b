package modules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMakeDemandIndexesAliases(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	module(t, dir, "kernel/a.ko")
	module(t, dir, "kernel/low.ko.xz")
	module(t, dir, "kernel/tun-x.ko", "depends=low", "alias=rtnl-link-x", "alias=pci:v*")
	p, err := MakeDemand(cache, dir, []string{"a"}, []string{"tun-x", "absent"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"absent"}, p.Missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(p.Demand)
	if err != nil {
		t.Fatal(err)
	}
	var index Index
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for name, files := range index {
		got[name] = moduleNames(files)
	}
	want := map[string][]string{"tun_x": {"low", "tun_x"}, "rtnl_link_x": {"low", "tun_x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
	if err := LoadFor(p.Demand, "b"); err == nil || !strings.Contains(err.Error(), "module b") {
		t.Errorf("a module that is not in the index: %v", err)
	}
}

func TestPlanWith(t *testing.T) {
	dir := t.TempDir()
	module(t, dir, "ip_vs.ko")
	module(t, dir, "ip_vs_rr.ko", "depends=ip_vs")
	module(t, dir, "tunnel4.ko")
	module(t, dir, "ipip.ko", "depends=tunnel4", "alias=rtnl-link-ipip")
	p, err := MakeDemand(t.TempDir(), dir, []string{"ip_vs"}, []string{"ip_vs_rr", "ipip"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ features, want []string }{
		{nil, []string{"ip_vs"}},
		{[]string{"ipvs", "link:veth", "sched:nonsense"}, []string{"ip_vs"}},
		{[]string{"link:ipip", "sched:rr", "link:ipip"}, []string{"ip_vs", "tunnel4", "ipip", "ip_vs_rr"}},
	} {
		got, err := p.With(tt.features...)
		if diff := cmp.Diff(tt.want, moduleNames(got.Files)); diff != "" || err != nil {
			t.Errorf("%v: %v, files (-want +got):\n%s", tt.features, err, diff)
		}
	}
	if p, err := (Plan{}).With("sched:rr"); err != nil || len(p.Files) != 0 {
		t.Errorf("without modules: %v, %v", p, err)
	}
}

// TestRest: what nobody listed is found by its names too, but not hardware's drivers.
func TestRest(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	module(t, dir, "kernel/net/low.ko.xz")
	module(t, dir, "kernel/drivers/net/bonding/bonding.ko", "depends=low", "alias=rtnl-link-bond", "alias=pci:v*")
	module(t, dir, "kernel/drivers/net/ifb.ko")
	module(t, dir, "kernel/drivers/net/ethernet/intel/e1000.ko", "alias=rtnl-link-e1000")
	module(t, dir, "extra/mine.ko")
	module(t, dir, "kernel/net/orphan.ko", "depends=nowhere")
	write(t, filepath.Join(dir, "kernel/net/broken.ko"), []byte("no ELF file"))
	p, err := MakeDemand(cache, dir, nil, []string{"absent"})
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "index")
	if err := os.Symlink(p.Demand, link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"rtnl_link_bond": {"kernel/net/low.ko.xz", "kernel/drivers/net/bonding/bonding.ko"},
		"ifb":            {"kernel/drivers/net/ifb.ko"},
		"low":            {"kernel/net/low.ko.xz"},
		"mine":           {"extra/mine.ko"},
		"e1000":          nil, "rtnl_link_e1000": nil, "orphan": nil, "broken": nil, "rtnl_link": nil, "": nil,
	} {
		for i := range want {
			want[i] = filepath.Join(dir, want[i])
		}
		got, err := lookRest(link, name)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, files (-want +got):\n%s", name, err, diff)
		}
	}
}
