package wire

import (
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
)

// A link has just come up, and its address is still looked for on the network
// (RFC 4862, section 5.4): that is waited for.
func TestAwaitLinkLocal(t *testing.T) {
	probetest.Namespaces(t)
	ns, _ := newNamespace(t)
	conn, err := rtnl.DialIn(ns)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.Apply(t.Context(), rtnl.NewVeth(rtnl.End{Name: "here", Index: 20}, rtnl.End{Name: "there", Index: 21}, ns.FD())))
	must(t, ns.Do(func() error {
		return (&rtnl.Settings{}).Set(
			rtnl.Sysctl{Key: "net.ipv6.conf.here.accept_dad", Value: "1"},
			rtnl.Sysctl{Key: "net.ipv6.conf.here.dad_transmits", Value: "1"},
			rtnl.Sysctl{Key: "net.ipv6.conf.here.router_solicitation_delay", Value: "0"},
			rtnl.Sysctl{Key: "net.ipv6.neigh.here.retrans_time_ms", Value: "300"})
	}))
	must(t, conn.Apply(t.Context(),
		rtnl.SetLink(rtnl.End{Name: "here", Index: 20, Up: true}), rtnl.SetLink(rtnl.End{Name: "there", Index: 21, Up: true})))
	addr, err := awaitLinkLocal(ns, 20)
	if err != nil || !addr.IsLinkLocalUnicast() {
		t.Errorf("found %s, %v", addr, err)
	}
}
