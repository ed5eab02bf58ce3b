package wire

import (
	"net/netip"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
)

// The address is there when whoever waits for it is told, though the link comes
// up only meanwhile.
func TestAwaitLinkLocal(t *testing.T) {
	probetest.Namespaces(t)
	ns, _ := newNamespace(t)
	conn, err := rtnl.DialIn(ns)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.Apply(t.Context(), rtnl.NewVeth(rtnl.End{Name: "here", Index: 20}, rtnl.End{Name: "there", Index: 21}, ns.FD())))
	if addr, err := linkLocal(ns, 20); err == nil {
		t.Fatalf("a link that is down has %s", addr)
	}
	found := make(chan netip.Addr, 1)
	go func() {
		addr, err := awaitLinkLocal(ns, 20)
		if err != nil {
			t.Error(err)
		}
		found <- addr
	}()
	must(t, conn.Apply(t.Context(),
		rtnl.SetLink(rtnl.End{Name: "here", Index: 20, Up: true}), rtnl.SetLink(rtnl.End{Name: "there", Index: 21, Up: true})))
	if addr := <-found; !addr.IsLinkLocalUnicast() {
		t.Errorf("found %s", addr)
	}
}
