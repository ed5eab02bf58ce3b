package lb_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ipvslab/ipvslab/lb"
)

func TestServiceSurvivesJSON(t *testing.T) {
	for _, p := range []lb.Protocol{lb.TCP, lb.UDP, lb.SCTP, 47} {
		for f := lb.NAT; f <= lb.DR; f++ {
			want := lb.Service{
				Key: lb.AddrKey(p, netip.MustParseAddr("10.0.0.1"), 80), Scheduler: "rr",
				Destinations: []lb.Destination{{DestKey: lb.DestKey{Addr: netip.MustParseAddr("10.1.0.1"), Port: 80}, Forward: f, Weight: 1}},
			}
			data, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			var got lb.Service
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Error(d)
			}
		}
	}
}

func TestUnknownWordsAreRefused(t *testing.T) {
	for _, text := range []string{"", "tcpp", "proto256", "-1"} {
		if err := new(lb.Protocol).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("protocol %q was taken", text)
		}
		if err := new(lb.Forward).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("forwarding method %q was taken", text)
		}
	}
}
