package lab_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
)

// needIPVS skips if the kernel says that it has no IPVS.
func needIPVS(t testing.TB) {
	t.Helper()
	probetest.Namespaces(t)
	err := probeIPVS(t)
	switch {
	case err == nil:
	case errors.Is(err, lb.ErrNoIPVS) && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// probeIPVS asks the kernel for its IPVS; nil if it has it.
func probeIPVS(t testing.TB) error {
	t.Helper()
	table, err := ipvs.Open(t.Context(), "")
	if err != nil {
		return err
	}
	return table.Close()
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

// client -- outside -- director, router -- inside -- rs1, rs2: TUN in both
// families, and DR for a range of ports by firewall mark.
func TestTunnelsAndMarks(t *testing.T) {
	needIPVS(t)
	dir := stateRoot(t)
	p := plan(t, "kinds.yaml", labName("kinds"))
	t.Cleanup(func() { lab.Down(t.Context(), p.Name) })
	l, err := lab.Up(t.Context(), p, lab.Options{Agent: lab.Detached})
	if errors.Is(err, fs.ErrNotExist) && strings.Contains(err.Error(), "act_skbedit") && os.Getenv("IPVSLAB_REQUIRE_KERNEL") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"10.9.0.100", "[fd00:9::100]", "10.9.0.101:8000", "10.9.0.101:8003", "10.9.0.101:9000"} {
		out := run(t, l, "client", "for i in 1 2; do curl -gsS --max-time 0.9 http://"+host+"/; done")
		if !strings.Contains(out, "rs1\n") || !strings.Contains(out, "rs2\n") {
			t.Errorf("%s: got %q", host, out)
		}
	}
	if out, status := try(t, l, "client", "curl -sS --max-time 0.9 http://10.9.0.101:8004/"); status == 0 {
		t.Errorf("a port outside of the range answers %q", out)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
}
