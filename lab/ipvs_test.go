package lab_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
)

// needIPVS skips if the kernel says that it has no IPVS.
func needIPVS(t testing.TB) {
	t.Helper()
	needRoot(t)
	table, err := ipvs.Open(t.Context(), "")
	switch {
	case err == nil:
		table.Close()
	case (errors.Is(err, lb.ErrNoIPVS) || errors.Is(err, fs.ErrNotExist)) && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// client -- outside -- director(VIP 10.9.0.100) -- inside -- rs1, rs2.
func TestServices(t *testing.T) {
	needIPVS(t)
	dir := stateRoot(t)
	l := up(t, plan(t, "nat.yaml", labName("nat")), lab.Options{})
	// The kernel's list is newest first: rs2 begins.
	want := "rs2 rs1 rs2 rs1"
	out := run(t, l, "client", "for i in 1 2 3 4; do curl -sS --max-time 0.9 http://10.9.0.100/; done")
	if got := strings.Join(strings.Fields(out), " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
}
