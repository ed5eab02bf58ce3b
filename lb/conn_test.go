package lb_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipvslab/ipvslab/lb"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var addrPorts = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

const connHeading = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

func TestParseConns(t *testing.T) {
	for name, c := range map[string]struct {
		row      string
		want     lb.Conn
		template bool
	}{
		"tcp": {
			"TCP C0A80164 C350 C0A80175 0050 0A000002 1F90 SYN_RECV         57",
			lb.Conn{Protocol: lb.TCP, Client: ap("192.168.1.100:50000"), Virtual: ap("192.168.1.117:80"), Real: ap("10.0.0.2:8080"), State: "SYN_RECV", Expires: 57 * time.Second},
			false,
		},
		"udp over IPv6": {
			"UDP fd00:0000:0000:0000:0000:0000:0000:0001 C350 fd00:0000:0000:0000:0000:0000:0000:0002 0035 fd01:0000:0000:0000:0000:0000:0000:0001 0035 UDP             299",
			lb.Conn{Protocol: lb.UDP, Client: ap("[fd00::1]:50000"), Virtual: ap("[fd00::2]:53"), Real: ap("[fd01::1]:53"), State: "UDP", Expires: 299 * time.Second},
			false,
		},
		"IPv6 by way of IPv4": {
			"TCP fd00:0000:0000:0000:0000:0000:0000:0001 C350 fd00:0000:0000:0000:0000:0000:0000:0002 0050 0A010001 0050 ESTABLISHED     899",
			lb.Conn{Protocol: lb.TCP, Client: ap("[fd00::1]:50000"), Virtual: ap("[fd00::2]:80"), Real: ap("10.1.0.1:80"), State: "ESTABLISHED", Expires: 899 * time.Second},
			false,
		},
		"template": {
			"TCP C0A80100 0000 C0A80175 0050 0A000002 0050 ASSURED         300",
			lb.Conn{Protocol: lb.TCP, Client: ap("192.168.1.0:0"), Virtual: ap("192.168.1.117:80"), Real: ap("10.0.0.2:80"), State: "ASSURED", Expires: 300 * time.Second},
			true,
		},
		"template of a firewall mark": {
			"IP  C0A80100 0000 00000007 0000 0A000002 0000 NONE            300",
			lb.Conn{Client: ap("192.168.1.0:0"), Virtual: ap("0.0.0.7:0"), Real: ap("10.0.0.2:0"), State: "NONE", Expires: 300 * time.Second},
			true,
		},
		"template of an engine, with a space in its data": {
			"UDP C0A80164 13C4 C0A80175 13C4 0A000002 13C4 ASSURED         300 sip a b@c",
			lb.Conn{
				Protocol: lb.UDP, Client: ap("192.168.1.100:5060"), Virtual: ap("192.168.1.117:5060"), Real: ap("10.0.0.2:5060"),
				State: "ASSURED", Expires: 300 * time.Second, Engine: "sip", Data: "a b@c",
			},
			true,
		},
		"a timer of eight digits and a protocol by number": {
			"IP_47 C0A80164 0000 C0A80175 0000 0A000002 0000 NONE        42949672",
			lb.Conn{Protocol: 47, Client: ap("192.168.1.100:0"), Virtual: ap("192.168.1.117:0"), Real: ap("10.0.0.2:0"), State: "NONE", Expires: 42949672 * time.Second},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := lb.ParseConns(strings.NewReader(connHeading + c.row + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]lb.Conn{c.want}, got, addrPorts); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got[0].Template() != c.template {
				t.Errorf("template: %v", got[0].Template())
			}
		})
	}
}

func TestParseConnsWithOrigin(t *testing.T) {
	got, err := lb.ParseConns(strings.NewReader("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n" +
		"TCP C0A80164 C350 C0A80175 0050 0A000002 0050 ESTABLISHED SYNC       179\n"))
	want := lb.Conn{
		Protocol: lb.TCP, Client: ap("192.168.1.100:50000"), Virtual: ap("192.168.1.117:80"), Real: ap("10.0.0.2:80"),
		State: "ESTABLISHED", Origin: "SYNC", Expires: 179 * time.Second,
	}
	if diff := cmp.Diff([]lb.Conn{want}, got, addrPorts); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestParseConnsRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":        "",
		"another file":   "IP Virtual Server version 1.2.1 (size=4096)\n",
		"a short row":    connHeading + "TCP C0A80164 C350\n",
		"a bad port":     connHeading + "TCP C0A80164 XXXX C0A80175 0050 0A000002 0050 NONE 1\n",
		"a bad address":  connHeading + "TCP C0A801 0050 C0A80175 0050 0A000002 0050 NONE 1\n",
		"a bad protocol": connHeading + "XYZ C0A80164 0050 C0A80175 0050 0A000002 0050 NONE 1\n",
		"a bad timer":    connHeading + "TCP C0A80164 0050 C0A80175 0050 0A000002 0050 NONE x\n",
		"an endless row": connHeading + strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := lb.ParseConns(strings.NewReader(in)); err == nil {
				t.Errorf("accepted: %v", got)
			}
		})
	}
}

func TestParseProcTable(t *testing.T) {
	f, err := os.Open("testdata/ip_vs")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, info, err := lb.ParseProcTable(f)
	if err != nil {
		t.Fatal(err)
	}
	if info != (lb.Info{Version: 0x010201, ConnTableSize: 4096}) {
		t.Errorf("info: %+v", info)
	}
	d := func(s string, f lb.Forward, weight int32) lb.Destination {
		return lb.Destination{DestKey: lb.DestKey{Addr: ap(s).Addr(), Port: ap(s).Port()}, Forward: f, Weight: weight}
	}
	vip4, vip6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	want := []lb.ProcService{
		{Service: lb.Service{Key: lb.AddrKey(lb.TCP, vip6, 443), Scheduler: "rr", MaskBits: 64}, Persistent: true, Ticks: 36000},
		{Service: lb.Service{Key: lb.AddrKey(lb.TCP, vip6, 80), Scheduler: "wlc", Destinations: []lb.Destination{d("10.1.0.1:80", lb.TUN, 1), d("[fd01::1]:80", lb.DR, 2)}}},
		{Service: lb.Service{Key: lb.AddrKey(lb.TCP, vip4, 80), Scheduler: "rr", MaskBits: 24, Destinations: []lb.Destination{
			d("10.1.0.1:80", lb.DR, 70000), d("10.1.0.2:80", lb.NAT, 1),
		}}, Persistent: true, Ticks: 30000},
		{Service: lb.Service{Key: lb.AddrKey(lb.UDP, vip4, 53), Scheduler: "rr", Flags: lb.OnePacket}},
		{Service: lb.Service{Key: lb.Key{FWMark: 7}, Scheduler: "mh"}},
	}
	want[2].Destinations[1].Counters = lb.Counters{Active: 3, Inactive: 4}
	if diff := cmp.Diff(want, got, addrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseProcStats(t *testing.T) {
	const file = `   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
       A       64       63       1FFFFFFFFF                2

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       1        2        3                4               1F
`
	got, err := lb.ParseProcStats(strings.NewReader(file))
	want := lb.Counters{Conns: 10, InPkts: 100, OutPkts: 99, InBytes: 0x1FFFFFFFFF, OutBytes: 2, CPS: 1, InPPS: 2, OutPPS: 3, InBPS: 4, OutBPS: 31}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := lb.ParseProcStats(strings.NewReader(file[:200])); err == nil {
		t.Error("half a file accepted")
	}
}

// Whatever the kernel may one day print, the parsers neither panic nor give
// values that can't be printed.
func FuzzProc(f *testing.F) {
	table, err := os.ReadFile("testdata/ip_vs")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(table))
	f.Add(connHeading + "TCP C0A80164 C350 C0A80175 0050 0A000002 1F90 SYN_RECV         57 sip x\n")
	f.Add("0 0 0 0 0\n0 0 0 0 0\n")
	f.Fuzz(func(t *testing.T, in string) {
		conns, _ := lb.ParseConns(strings.NewReader(in))
		for _, c := range conns {
			_ = c.String()
			if !c.Client.IsValid() || !c.Real.IsValid() {
				t.Errorf("invalid address in %q", in)
			}
		}
		services, _, _ := lb.ParseProcTable(strings.NewReader(in))
		for _, s := range services {
			_ = s.Key.String()
		}
		_, _ = lb.ParseProcStats(strings.NewReader(in))
	})
}

// The live statistics are the sums over processors; the refreshed sum and the
// rates are not looked at.
func TestParseProcLiveStats(t *testing.T) {
	text := "       Total Incoming Outgoing         Incoming         Outgoing\n" +
		"CPU    Conns  Packets  Packets            Bytes            Bytes\n" +
		"  0        A        B        C                D                E\n" +
		" 1F        1        1        1                1                1\n" +
		"  ~        5        5        5                5                5\n\n" +
		"     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n" +
		"           0        0        0                0                0\n"
	got, err := lb.ParseProcLiveStats(strings.NewReader(text))
	want := lb.Counters{Conns: 11, InPkts: 12, OutPkts: 13, InBytes: 14, OutBytes: 15}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := lb.ParseProcLiveStats(strings.NewReader("nothing\n")); err == nil {
		t.Error("a file without processors was taken")
	}
}
