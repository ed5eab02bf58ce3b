package traffic

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lab/internal/vethpair"
)

const (
	serverV4 = "10.9.0.2"
	serverV6 = "fd09::2"
)

type pair struct{ client, server Enter }

func newPair(t testing.TB) pair {
	t.Helper()
	p := vethpair.New(t)
	return pair{p.Client, p.Server}
}

func at(host string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), port)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startHost(t testing.TB, enter Enter, specs ...ResponderSpec) *Host {
	t.Helper()
	h := NewHost(HostOptions{})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	for _, s := range specs {
		_, err := h.Start(enter, s)
		must(t, err)
	}
	return h
}

// eventually polls until ok, for at most 30 s.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-tick.C
	}
}
