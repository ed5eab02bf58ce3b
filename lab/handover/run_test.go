package handover_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lab/handover"
	"github.com/ipvslab/ipvslab/lab/internal/vethpair"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

// Client ---- Server: the server stops and starts again under the client's eyes.
func TestServerGoesAndComesBack(t *testing.T) {
	for _, protocol := range []string{traffic.TCP, traffic.HTTP, traffic.UDP} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			pair := vethpair.New(t)
			host := traffic.NewHost(traffic.HostOptions{})
			t.Cleanup(func() { host.Close() })
			server, err := host.Start(traffic.Enter(pair.Server), traffic.ResponderSpec{Node: "s", Protocol: protocol, Port: 80, Identity: "me"})
			if err != nil {
				t.Fatal(err)
			}
			res, err := handover.Run(t.Context(), traffic.Enter(pair.Client), handover.Spec{
				To: netip.AddrPortFrom(vethpair.ServerV4, 80), Protocol: protocol,
				Streams: 3, Every: 5 * time.Millisecond, Rate: 100, Duration: 3 * time.Second, Timeout: 300 * time.Millisecond,
				Events: []handover.Event{
					{At: 1200 * time.Millisecond, Name: "start", Do: func(context.Context) error { return server.Start() }},
					{At: 200 * time.Millisecond, Name: "stop", Do: func(context.Context) error { return server.Stop() }},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := res.Summary(&text); err != nil {
				t.Fatal(err)
			}
			t.Log("\n" + text.String())
			// Its length says how late the last answer was read, too.
			if back := res.Marks[1].At; res.Gap.From > back || res.Gap.To < back {
				t.Errorf("nobody was served until %v, but the longest gap is %v", back, res.Gap)
			}
			if n := res.New; n.Identities["me"] != n.Answered || n.Answered == 0 || n.Opened > 300 {
				t.Errorf("new: %+v", n)
			}
			if n := res.New; protocol != traffic.UDP && n.Refused == 0 {
				t.Errorf("nobody was refused: %+v", n)
			}
			s := res.Streams
			if s.Opened != 3 || s.Lost == 0 || protocol != traffic.UDP && (s.Broken != 3 || s.Continued != 0) {
				t.Errorf("streams: %+v", s)
			}
			// Nothing breaks datagrams, but on a busy machine the last ones may not be answered in time.
			if protocol == traffic.UDP && (s.Broken+s.Continued != 3 || s.Ends["silent"] != s.Broken) {
				t.Errorf("streams: %+v", s)
			}
			if res.Lost != res.New.Lost()+s.Lost {
				t.Errorf("lost: %d", res.Lost)
			}
			for _, want := range []string{"stop", "start", "gap ", "^", "  me "} {
				if !strings.Contains(text.String(), want) {
					t.Errorf("the summary lacks %q", want)
				}
			}
			data, err := json.Marshal(res)
			var back handover.Result
			if err == nil {
				err = json.Unmarshal(data, &back)
			}
			if err != nil || back.Gap.Length.String() != res.Gap.Length.String() || !strings.Contains(string(data), `"lengthMs":`) {
				t.Errorf("%v: %s", err, data)
			}
		})
	}
}

// Client ---- Server, and nothing goes wrong.
func TestNothingGoesWrong(t *testing.T) {
	pair := vethpair.New(t)
	host := traffic.NewHost(traffic.HostOptions{})
	t.Cleanup(func() { host.Close() })
	for _, protocol := range []string{traffic.TCP, traffic.HTTP, traffic.UDP} {
		spec := traffic.ResponderSpec{Node: "s", Protocol: protocol, Port: 80}
		if protocol == traffic.HTTP {
			spec.Port = 81
		}
		if _, err := host.Start(traffic.Enter(pair.Server), spec); err != nil {
			t.Fatal(err)
		}
		res, err := handover.Run(t.Context(), traffic.Enter(pair.Client), handover.Spec{
			To: netip.AddrPortFrom(vethpair.ServerV6, spec.Port), Protocol: protocol,
			Streams: 5, Every: 3 * time.Millisecond, Rate: 50, Duration: time.Second,
		})
		if err != nil || res.Lost != 0 || res.Streams.Continued != 5 || res.Streams.Requests == 0 || res.New.Answered == 0 {
			t.Errorf("%s: %v: %+v", protocol, err, res)
		}
	}
}

func TestWrongSpecsAreRefused(t *testing.T) {
	to := netip.MustParseAddrPort("10.0.0.1:80")
	for why, spec := range map[string]handover.Spec{
		"no address":           {},
		"unknown protocol":     {To: to, Protocol: "sctp"},
		"neither streams":      {To: to, Rate: -1},
		"at 11s":               {To: to, Events: []handover.Event{{At: 11 * time.Second}}},
		"more than 20000000":   {To: to, Streams: 10_000, Every: time.Millisecond, Duration: time.Hour},
		"every 1ms at most":    {To: to, Streams: 1, Every: time.Microsecond},
		"at most 10000 are":    {To: to, Rate: 1e6},
		"0 to 10000 are":       {To: to, Streams: -1},
		"timeout of 1h0m0.001": {To: to, Timeout: time.Hour + time.Millisecond},
	} {
		if _, err := handover.Run(t.Context(), nil, spec); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v; want %q", err, why)
		}
	}
}
