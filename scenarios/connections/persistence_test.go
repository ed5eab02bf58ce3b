package connections_test

import (
	"net/netip"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
)

// persistence are the claims about clients that stick to a real server.
func persistence() []claim {
	const span = 300 * time.Second
	return []claim{
		{
			name:   "mask",
			does:   "which clients count as one (ipvsadm -M)",
			source: "ip_vs_core.c, ip_vs_sched_persist",
			play: func(b *bench, value string) {
				s := lb.Service{Key: lb.AddrKey(lb.TCP, b.vip().Addr(), 80), Timeout: span}
				if value == "/24" {
					s.MaskBits = 24
				}
				if value == "none" {
					s.Timeout = 0
				}
				b.serve(s, lb.NAT, 3)
				b.ask(1, syn)
				b.ask(2, syn)
				b.ask(257, syn)
				b.askFrom(1, 50000, syn)
				b.entries()
				b.counters()
			},
			variants: []variant{
				{value: "none", shows: "without persistence each connection takes its turn", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s2 SYN",
					"c257>vip SYN: to servers c257>s3 SYN",
					"c1:50000>vip SYN: to servers c1:50000>s1 SYN",
					"entries: c1:50000>s1 SYN_RECV 60s, c1>s1 SYN_RECV 60s, c257>s3 SYN_RECV 60s, c2>s2 SYN_RECV 60s",
					"counters: s1 2 active 0 inactive, s2 1 active 0 inactive, s3 1 active 0 inactive",
				}},
				{value: "/32", shows: "one client's connections go to one real server, one template each", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s2 SYN",
					"c257>vip SYN: to servers c257>s3 SYN",
					"c1:50000>vip SYN: to servers c1:50000>s1 SYN",
					"entries: c1:50000>s1 SYN_RECV 60s, c1>s1 SYN_RECV 60s, c257>s3 SYN_RECV 60s, c2>s2 SYN_RECV 60s, template c1>vip>s1 300s, template c257>vip>s3 300s, template c2>vip>s2 300s",
					"counters: s1 2 active 0 inactive 1 persistent, s2 1 active 0 inactive 1 persistent, s3 1 active 0 inactive 1 persistent",
				}},
				{value: "/24", shows: "a whole network's do, by one template", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s1 SYN",
					"c257>vip SYN: to servers c257>s2 SYN",
					"c1:50000>vip SYN: to servers c1:50000>s1 SYN",
					"entries: c1:50000>s1 SYN_RECV 60s, c1>s1 SYN_RECV 60s, c257>s2 SYN_RECV 60s, c2>s1 SYN_RECV 60s, template 172.16.0.0>vip>s1 300s, template 172.16.1.0>vip>s2 300s",
					"counters: s1 3 active 0 inactive 1 persistent, s2 1 active 0 inactive 1 persistent, s3 0 active 0 inactive",
				}},
			},
		},
		{
			name:   "mask, IPv6",
			does:   "the same as a prefix length",
			source: "ip_vs_core.c, ip_vs_sched_persist",
			play: func(b *bench, value string) {
				b.v6 = true
				s := lb.Service{Key: lb.AddrKey(lb.TCP, b.vip().Addr(), 80), Timeout: span}
				if value == "/64" {
					s.MaskBits = 64
				}
				b.serve(s, lb.NAT, 3)
				b.ask(1, syn)
				b.ask(2, syn)
				b.entries()
			},
			variants: []variant{
				{value: "/128", shows: "each address by itself", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s2 SYN",
					"entries: c1>s1 SYN_RECV 60s, c2>s2 SYN_RECV 60s, template c1>vip>s1 300s, template c2>vip>s2 300s",
				}},
				{value: "/64", shows: "a whole prefix as one", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s1 SYN",
					"entries: c1>s1 SYN_RECV 60s, c2>s1 SYN_RECV 60s, template fd16::>vip>s1 300s",
				}},
			},
		},
		{
			name:   "ports",
			does:   "which ports of a client's go together",
			source: "ip_vs_core.c, ip_vs_sched_persist",
			play: func(b *bench, value string) {
				vip := b.vip().Addr()
				switch value {
				case "two services":
					for _, port := range []uint16{443, 80} {
						b.serve(lb.Service{Key: lb.AddrKey(lb.TCP, vip, port), Timeout: span}, lb.NAT, 3)
					}
				case "every port":
					b.serve(lb.Service{Key: lb.AddrKey(lb.TCP, vip, 0), Timeout: span}, lb.NAT, 3)
				case "a firewall mark":
					b.must(b.Mark(7))
					b.serve(lb.Service{Key: lb.MarkKey(7, lb.IPv4), Timeout: span}, lb.NAT, 3)
				}
				b.ask(2, syn) // takes port 80's first turn
				for _, port := range []uint16{80, 443, 8080} {
					b.send(director.ClientWire, director.Packet{
						Protocol: lb.TCP, Src: b.client(1), Dst: netip.AddrPortFrom(vip, port), Flags: syn,
					})
				}
				b.entries()
			},
			needs: []string{"tc:skbedit"},
			variants: []variant{
				{value: "two services", shows: "each port by itself; no service, no connection", want: []string{
					"c2>vip SYN: to servers c2>s1 SYN",
					"c1>vip SYN: to servers c1>s2 SYN",
					"c1>vip:443 SYN: to servers c1>s1 SYN",
					"c1>vip:8080 SYN: to clients vip:8080>c1 RST ACK",
					"entries: c1>s1 SYN_RECV 60s, c1>s2 SYN_RECV 60s, c2>s1 SYN_RECV 60s, template c1>vip:443>s1 300s, template c1>vip>s2 300s, template c2>vip>s1 300s",
				}},
				{value: "every port", shows: "one service of port 0 takes every port, to one real server, whose ports are the same", want: []string{
					"c2>vip SYN: to servers c2>s1 SYN",
					"c1>vip SYN: to servers c1>s2 SYN",
					"c1>vip:443 SYN: to servers c1>s2:443 SYN",
					"c1>vip:8080 SYN: to servers c1>s2:8080 SYN",
					"entries: c1>s2 SYN_RECV 60s, c1>s2:443 SYN_RECV 60s, c1>s2:8080 SYN_RECV 60s, c2>s1 SYN_RECV 60s, template c1>vip>s2 300s, template c2>vip>s1 300s",
				}},
				{value: "a firewall mark", shows: "so does a firewall mark's", want: []string{
					"c2>vip SYN: to servers c2>s1 SYN",
					"c1>vip SYN: to servers c1>s2 SYN",
					"c1>vip:443 SYN: to servers c1>s2:443 SYN",
					"c1>vip:8080 SYN: to servers c1>s2:8080 SYN",
					"entries: c1>s2 SYN_RECV 60s, c1>s2:443 SYN_RECV 60s, c1>s2:8080 SYN_RECV 60s, c2>s1 SYN_RECV 60s, template c1>0.0.0.7>s2 300s, template c2>0.0.0.7>s1 300s",
				}},
			},
		},
		{
			name:   "a template's end",
			waits:  true,
			does:   "a client is forgotten the persistence's timeout after its last connection, and not before",
			source: "ip_vs_conn.c, ip_vs_conn_expire (n_control)",
			play: func(b *bench, value string) {
				play := func(b *bench, timeout time.Duration) {
					b.setTimeouts(1, 1, 1)
					b.serve(lb.Service{Key: lb.AddrKey(lb.UDP, b.vip().Addr(), 53), Timeout: timeout}, lb.NAT, 2)
				}
				ask := func(b *bench) {
					b.send(director.ClientWire, director.Packet{Protocol: lb.UDP, Src: b.client(1), Dst: netip.AddrPortFrom(b.vip().Addr(), 53)})
				}
				judge := b
				if value == "300 s" {
					judge = newBench(b.T)
					play(judge, time.Second)
					play(b, span)
					ask(b)
					ask(judge)
				} else {
					play(b, time.Second)
					ask(b)
				}
				judge.await("end of the template", 2*settleTimeout, func() bool { return len(judge.listEntries()) == 0 })
				b.note("after a while")
				b.entries()
				ask(b)
			},
			variants: []variant{
				{value: "1 s", shows: "the template goes, the client's next connection is scheduled anew", want: []string{
					"c1>vip:53 datagram: to servers c1>s1 datagram",
					"after a while",
					"entries: none",
					"c1>vip:53 datagram: to servers c1>s2 datagram",
				}},
				{value: "300 s", shows: "it stays when the connection has gone, and so does the client at its real server", want: []string{
					"c1>vip:53 datagram: to servers c1>s1 datagram",
					"after a while",
					"entries: template c1>vip:53>s1 300s",
					"c1>vip:53 datagram: to servers c1>s1 datagram",
				}},
			},
		},
	}
}
