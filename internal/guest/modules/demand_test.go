package modules

import (
	"encoding/json"
	"os"
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
