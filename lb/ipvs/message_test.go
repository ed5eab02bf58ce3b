package ipvs

import (
	"net/netip"
	"testing"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// netlinkMessage is one message as the kernel sends it.
func netlinkMessage(kind uint16, seq uint32, data []byte) []byte {
	b := native.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(data)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, 0)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, 0)
	b = append(b, data...)
	return append(b, make([]byte, align4(len(data))-len(data))...)
}

func TestSplitMessages(t *testing.T) {
	errno := func(n int32) []byte { return native.AppendUint32(nil, uint32(-n)) }
	b := append(netlinkMessage(42, 1, []byte("abcde")), netlinkMessage(unix.NLMSG_ERROR, 2, errno(int32(unix.ESRCH)))...)
	b = append(b, netlinkMessage(unix.NLMSG_DONE, 3, errno(0))...)
	got, err := splitMessages(nil, b)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	if m := got[0]; m.ends() || m.seq != 1 || string(m.payload()) != "e" {
		t.Errorf("answer: %+v", m)
	}
	if m := got[1]; !m.ends() || m.errno() != unix.ESRCH {
		t.Errorf("error: %+v", m)
	}
	if m := got[2]; !m.ends() || m.errno() != 0 {
		t.Errorf("end: %+v", m)
	}
	for cut := 1; cut < len(b); cut++ {
		if got, err := splitMessages(nil, b[:cut]); err == nil && len(got) == 3 {
			t.Errorf("cut to %d bytes: %+v", cut, got)
		}
	}
}

func TestDestinationSurvivesTheWire(t *testing.T) {
	want := lb.Destination{
		DestKey: lb.DestKey{Addr: netip.MustParseAddr("fd00::1"), Port: 8080}, Forward: lb.TUN, Weight: 1<<31 - 1,
		Upper: 1<<32 - 1, Lower: 7, Tunnel: lb.Tunnel{Type: lb.GUE, Port: 6080, Flags: 3},
	}
	attr := destAttr(want)
	// 64-bit statistics win over 32-bit ones, whatever their order.
	stats := func(nest int, conns []byte) { attr.AddRtAttr(nest, nil).AddRtAttr(statConns, conns) }
	stats(destStats64, nl.Uint64Attr(1<<40))
	stats(destStats, nl.Uint32Attr(1))
	want.Counters.Conns = 1 << 40
	got, err := decodeDestination(attr.Serialize(), lb.IPv4)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A kernel of long ago tells neither a destination's family nor 64-bit statistics.
func TestDecodeOldKernelsDestination(t *testing.T) {
	attr := nl.NewRtAttr(attrDest, nil)
	attr.AddRtAttr(destAddr, append([]byte{10, 0, 0, 1}, make([]byte, 12)...))
	attr.AddRtAttr(destPort, nl.BEUint16Attr(80))
	attr.AddRtAttr(destStats, nil).AddRtAttr(statConns, nl.Uint32Attr(9))
	got, err := decodeDestination(attr.Serialize(), lb.IPv4)
	if err != nil || got.DestKey.String() != "10.0.0.1:80" || got.Counters.Conns != 9 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(destAttr(lb.Destination{DestKey: lb.DestKey{Addr: netip.MustParseAddr("10.0.0.1")}}).Serialize())
	f.Add(keyAttr(lb.MarkKey(7, lb.IPv6)).Serialize())
	f.Add(netlinkMessage(42, 1, daemonAttr(lb.SyncDaemon{Role: lb.SyncMaster, Interface: "eth0"}).Serialize()))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = splitMessages(nil, b)
		_, _ = decodeService(b)
		_, _ = decodeDestination(b, lb.IPv6)
		_, _ = decodeDaemon(b)
		_, _ = familyID(b)
	})
}
