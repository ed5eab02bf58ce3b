package oracle_test

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/replay"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// needKernel skips unless this kernel has IPVS and lets us use it, and proves
// it by trying.
func needKernel(t *testing.T, feature string) {
	t.Helper()
	names := []string{probe.IPVS, feature}
	missing := probe.Only(context.Background(), names...).Missing(names...)
	if missing == nil {
		return
	}
	// Packaged kernels have everything but twos, which is compiled out of them.
	packaged := missing[0].Name != probe.Scheduler("twos") || missing[0].State != probe.No
	if os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" && packaged {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// pair is a replay.Pair whose differences end the test.
type pair struct {
	failer
	*replay.Pair
}

func newPair(t failer, s lb.Service, v oracle.Variant) *pair {
	t.Helper()
	p, err := replay.Open(context.Background(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{t, p}
}

func (p *pair) close() {
	p.Helper()
	if err := p.Close(); err != nil {
		p.Fatal(err)
	}
}

func (p *pair) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// do makes an event happen in both; false: both refused it.
func (p *pair) do(e predict.Event) bool {
	p.Helper()
	done, err := p.Do(e)
	p.check(err)
	return done
}

func (p *pair) open(c oracle.Conn) oracle.Outcome {
	p.Helper()
	out, err := p.Open(c)
	p.check(err)
	return out
}

func (p *pair) present(k lb.DestKey) bool {
	return slices.ContainsFunc(p.Model.Destinations(), func(s oracle.State) bool { return s.Dest == k })
}

// kernelServer is real server n of the director's scratch namespace.
func kernelServer(f lb.Family, n int, weight int32) lb.Destination {
	addr := netip.AddrFrom4([4]byte{10, 98, byte(n >> 8), byte(n)})
	if f == lb.IPv6 {
		addr = director.Servers6.Addr()
		raw := addr.As16()
		raw[14], raw[15] = byte(n>>8), byte(n)
		addr = netip.AddrFrom16(raw)
	}
	return lb.Destination{DestKey: lb.DestKey{Addr: addr, Port: uint16(8000 + n)}, Weight: weight}
}

func kernelVIP(f lb.Family, n int) netip.Addr {
	if f == lb.IPv6 {
		raw := director.VIPs6.Addr().As16()
		raw[15] = byte(n)
		return netip.AddrFrom16(raw)
	}
	return netip.AddrFrom4([4]byte{10, 99, 0, byte(n)})
}

func kernelClient(f lb.Family, n int) oracle.Conn {
	addr := netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)})
	if f == lb.IPv6 {
		addr = netip.AddrFrom16([16]byte{0xfd, 0x16, 5: byte(n >> 8), 15: byte(n)})
	}
	return oracle.Conn{Client: netip.AddrPortFrom(addr, uint16(1024+n%60000))}
}
