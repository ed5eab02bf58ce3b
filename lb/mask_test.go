package lb_test

import (
	"net/netip"
	"testing"

	"github.com/ipvslab/ipvslab/lb"
)

func TestMask4(t *testing.T) {
	tests := []struct {
		mask string
		bits uint8
		odd  bool
	}{
		{"255.255.255.255", 0, false},
		{"255.255.255.0", 24, false},
		{"128.0.0.0", 1, false},
		{"255.255.255.254", 31, false},
		{"0.0.0.0", 0, true},
		{"0.0.0.24", 0, true},
		{"255.0.255.0", 0, true},
	}
	for _, test := range tests {
		s := lb.Service{MaskBits: 9, OddMask: netip.MustParseAddr("1.2.3.4")}
		s.SetMask4(netip.MustParseAddr(test.mask))
		if s.MaskBits != test.bits || s.OddMask.IsValid() != test.odd {
			t.Errorf("SetMask4(%s) gives %d bits, odd mask %v", test.mask, s.MaskBits, s.OddMask)
		}
		if got := s.Mask4().String(); got != test.mask {
			t.Errorf("Mask4() = %s after SetMask4(%s)", got, test.mask)
		}
	}
}
