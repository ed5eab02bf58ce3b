package lab

import (
	"net/netip"
	"testing"

	"github.com/ipvslab/ipvslab/lab/internal/vethpair"
)

// An address of the namespace's own is found, its neighbour's is not.
func TestLocalIPv6(t *testing.T) {
	p := vethpair.New(t)
	var local map[netip.Addr]bool
	if err := p.Client(func() (err error) { local, err = localIPv6(); return err }); err != nil {
		t.Fatal(err)
	}
	if !local[vethpair.ClientV6] || local[vethpair.ServerV6] {
		t.Errorf("local are %v", local)
	}
}
