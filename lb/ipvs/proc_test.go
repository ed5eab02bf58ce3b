package ipvs

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// An entry that the kernel shows twice is one; one that takes the place of
// another is not the same.
func TestOnce(t *testing.T) {
	at := netip.MustParseAddrPort
	c := lb.Conn{Protocol: lb.TCP, Client: at("10.0.0.2:4000"), Virtual: at("10.0.0.100:80"), Real: at("10.1.0.1:80"), State: "TIME_WAIT", Expires: 9 * time.Second}
	again, successor := c, c
	again.Expires = 8 * time.Second
	successor.State, successor.Expires = "SYN_RECV", time.Minute
	got := once([]lb.Conn{c, successor, again})
	if len(got) != 2 || got[0] != c || got[1] != successor {
		t.Errorf("got %v", got)
	}
}
