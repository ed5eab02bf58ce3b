package rtnl_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Addresses of the namespace are in effect in the end; one that is only on the
// same network, one that it only has a route to, and one that is a network's
// are not, and the first such is named.
func TestWaitLocalIPv6(t *testing.T) {
	ns := space(t)
	conn := dial(t, ns)
	const up = "fd00::1"
	reqs := []rtnl.Request{
		rtnl.SetLink(rtnl.End{Name: "lo", Index: 1, Up: true}),
		rtnl.NewBridge(rtnl.End{Name: "up", Index: 20, Up: true}),
		rtnl.AddAddress("up", 20, netip.MustParsePrefix(up+"/64")),
		rtnl.AddAddress("up", 20, netip.MustParsePrefix("fd00:1::1/128")),
	}
	for _, r := range []rtnl.Route{
		{To: netip.MustParsePrefix("fd00:3::1/128"), Index: 20},
		{To: netip.MustParsePrefix("fd00:4::/64"), Index: 1, Type: "local", Table: unix.RT_TABLE_LOCAL},
	} {
		req, err := rtnl.AddRoute(r)
		if err != nil {
			t.Fatal(err)
		}
		reqs = append(reqs, req)
	}
	if err := conn.Apply(t.Context(), reqs...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := waitLocal(ctx, ns, up, "fd00:1::1", "::1"); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, lacks := range []string{"fd00::2", "fd00:3::1", "fd00:4::"} {
		err := waitLocal(gone, ns, up, lacks, "fd00::3")
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "wait for address "+lacks+" to be") {
			t.Errorf("%s: got %v", lacks, err)
		}
	}
	if err := waitLocal(gone, ns); err != nil {
		t.Errorf("nothing to wait for: %v", err)
	}
}

func waitLocal(ctx context.Context, ns *netns.NS, addrs ...string) error {
	all := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		all[i] = netip.MustParseAddr(a)
	}
	return rtnl.WaitLocalIPv6(ctx, ns, all...)
}
