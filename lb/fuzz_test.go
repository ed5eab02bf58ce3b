package lb_test

import (
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/lb"
)

// FuzzParseConns: no connection list makes the reader panic, and what it takes
// has as many entries as lines.
func FuzzParseConns(f *testing.F) {
	const heading = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
	f.Add(heading)
	f.Add(heading + "TCP C0A80167 D431 C0A80175 0050 AC0A6482 0050 ESTABLISHED     897\n" +
		"UDP 0A010101 0000 0A010101 13C4 0A070707 13C4 NONE             57 sip f81d4fae@192.168.1.103\n")
	f.Add(heading + "UDP 20010db8000000000000000000000001 B841 2001:0db8:0000:0000:0000:0000:0000:0001 0035 " +
		"2001:0db8:0000:0000:0000:0000:0000:0099 0035 UDP             297\n")
	f.Add("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\nIP_99 1 2 3 4 5 6 X SYNC 8\n")
	f.Fuzz(func(t *testing.T, text string) {
		conns, err := lb.ParseConns(strings.NewReader(text))
		if lines := strings.Count(strings.TrimSuffix(text, "\n"), "\n"); err == nil && len(conns) != lines {
			t.Errorf("%d entries in %d lines", len(conns), lines)
		}
		for _, c := range conns {
			_ = c.String()
		}
	})
}

// FuzzParseProcTable: no service table makes the reader panic.
func FuzzParseProcTable(f *testing.F) {
	const heading = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
	f.Add(heading)
	f.Add(heading + "TCP  C0A80175:0050 wlc persistent 36000 FFFFFF00\n  -> AC0A6482:0050      Masq    1      0          0         \n")
	f.Add(heading + "UDP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0035 rr ops \n" +
		"  -> [2001:0db8:0000:0000:0000:0000:0000:0099]:0035      Tunnel  65536      0          0         \n")
	f.Add(heading + "FWM  00000007 wlc \n")
	f.Fuzz(func(t *testing.T, text string) {
		services, _, err := lb.ParseProcTable(strings.NewReader(text))
		if err != nil && services != nil {
			t.Errorf("services %v and error %v", services, err)
		}
	})
}
