package connections_test

import (
	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
)

// changes are the claims about a table that changes under live connections.
func changes() []claim {
	return []claim{
		{
			name:   "taking a real server out",
			waits:  true,
			does:   "a drain is a weight of 0, a wait until no entry is left, and a removal",
			source: "ip_vs_ctl.c, __ip_vs_unlink_dest; ip_vs_core.c, ip_vs_in_hook",
			play: func(b *bench, value string) {
				if value == "removed at once, expire_nodest_conn=1" {
					b.set("expire_nodest_conn", "1")
				}
				b.setTimeouts(900, 1, 300)
				b.serve(lb.Service{}, lb.DR, 2)
				b.ask(1, syn)
				b.ask(1, ack)
				if value == "drained" {
					b.weigh(1, 0)
				} else {
					b.remove(1)
				}
				if value == "removed at once, expire_nodest_conn=1" {
					b.await("flush of the connection", flushTimeout, func() bool { return len(b.only(1)) == 0 })
				}
				b.asks(1, ack)
				b.asks(2, syn)
				b.asks(3, syn)
				b.ask(1, fin|ack)
				if value == "drained" {
					b.await("end of s1's connections", settleTimeout, func() bool {
						c := b.destination(1).Counters
						return c.Active+c.Inactive == 0
					})
					b.remove(1)
				}
				b.note("c1")
				b.state(1)
			},
			variants: []variant{
				{value: "drained", shows: "its connections go on to their end, new ones go elsewhere", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"weight of s1 = 0",
					"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
					"c2>vip SYN: to servers c2>vip SYN; s2 SYN_RECV 60s",
					"c3>vip SYN: to servers c3>vip SYN; s2 SYN_RECV 60s",
					"c1>vip FIN ACK: to servers c1>vip FIN ACK",
					"remove s1",
					"c1; no entry",
				}},
				{value: "removed at once, expire_nodest_conn=0", shows: "its connections' packets are lost without a word", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"remove s1",
					"c1>vip ACK: nothing; s1 ESTABLISHED 900s",
					"c2>vip SYN: to servers c2>vip SYN; s2 SYN_RECV 60s",
					"c3>vip SYN: to servers c3>vip SYN; s2 SYN_RECV 60s",
					"c1>vip FIN ACK: nothing",
					"c1; s1 ESTABLISHED 900s",
				}},
				{value: "removed at once, expire_nodest_conn=1", shows: "its clients are reset by the director", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"remove s1",
					"c1>vip ACK: to clients vip>c1 RST; no entry",
					"c2>vip SYN: to servers c2>vip SYN; s2 SYN_RECV 60s",
					"c3>vip SYN: to servers c3>vip SYN; s2 SYN_RECV 60s",
					"c1>vip FIN ACK: to clients vip>c1 RST",
					"c1; no entry",
				}},
			},
		},
		{
			name:   "a real server that comes back",
			does:   "a destination that is added again within two minutes is the old one, with its connections",
			source: "ip_vs_ctl.c, ip_vs_trash_get_dest",
			play: func(b *bench, value string) {
				b.serve(lb.Service{}, lb.DR, 2)
				b.ask(1, syn)
				b.ask(1, ack)
				old := b.destination(1)
				b.remove(1)
				b.ask(1, ack)
				switch value {
				case "the same":
					b.add(old)
				case "another port":
					old.Port++
					b.add(old)
				}
				b.asks(1, ack)
				b.counters()
			},
			variants: []variant{
				{value: "the same", shows: "connections that were cut off go on", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"remove s1",
					"c1>vip ACK: nothing",
					"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
					"counters: s1 1 active 0 inactive, s2 0 active 0 inactive",
				}},
				{value: "another port", shows: "that is another one: they stay cut off", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"remove s1",
					"c1>vip ACK: nothing",
					"c1>vip ACK: nothing; s1 ESTABLISHED 900s",
					"counters: s1 0 active 0 inactive, s2 0 active 0 inactive",
				}},
				{value: "not at all", shows: "they stay cut off too", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"remove s1",
					"c1>vip ACK: nothing",
					"c1>vip ACK: nothing; s1 ESTABLISHED 900s",
					"counters: s2 0 active 0 inactive",
				}},
			},
		},
		{
			name:   "weights in mid-stream",
			does:   "an edit changes where new connections go, and moves none that is there",
			source: "ip_vs_ctl.c, ip_vs_edit_dest; ip_vs_wrr.c, ip_vs_wrr_dest_changed",
			play: func(b *bench, value string) {
				b.serve(lb.Service{Scheduler: "wrr"}, lb.NAT, 2)
				b.ask(1, syn)
				b.ask(2, syn)
				switch value {
				case "s1 = 3":
					b.weigh(1, 3)
				case "s1 = 0":
					b.weigh(1, 0)
				}
				for n := 3; n <= 6; n++ {
					b.ask(n, syn)
				}
				b.asks(1, ack)
			},
			variants: []variant{
				{value: "as it was", shows: "turn by turn", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s2 SYN",
					"c3>vip SYN: to servers c3>s1 SYN",
					"c4>vip SYN: to servers c4>s2 SYN",
					"c5>vip SYN: to servers c5>s1 SYN",
					"c6>vip SYN: to servers c6>s2 SYN",
					"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
				}},
				{value: "s1 = 3", shows: "three of four new ones go to s1", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s2 SYN",
					"weight of s1 = 3",
					"c3>vip SYN: to servers c3>s1 SYN",
					"c4>vip SYN: to servers c4>s2 SYN",
					"c5>vip SYN: to servers c5>s1 SYN",
					"c6>vip SYN: to servers c6>s1 SYN",
					"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
				}},
				{value: "s1 = 0", shows: "all new ones go to s2, the old one stays at s1", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s2 SYN",
					"weight of s1 = 0",
					"c3>vip SYN: to servers c3>s2 SYN",
					"c4>vip SYN: to servers c4>s2 SYN",
					"c5>vip SYN: to servers c5>s2 SYN",
					"c6>vip SYN: to servers c6>s2 SYN",
					"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
				}},
			},
		},
		{
			name:   "all weights 0",
			does:   "nobody takes new connections",
			source: "ip_vs_core.c, ip_vs_leave",
			play: func(b *bench, value string) {
				b.serve(lb.Service{}, lb.NAT, 2)
				b.ask(1, syn)
				b.weigh(1, 0)
				if value == "all" {
					b.weigh(2, 0)
				}
				b.ask(2, syn)
				b.asks(1, ack)
			},
			variants: []variant{
				{value: "all", shows: "a new client is refused by ICMP \"port unreachable\", an old one goes on", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"weight of s1 = 0",
					"weight of s2 = 0",
					"c2>vip SYN: to clients vip>c2 port unreachable about c2>vip",
					"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
				}},
				{value: "all but one", shows: "that one gets it", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"weight of s1 = 0",
					"c2>vip SYN: to servers c2>s2 SYN",
					"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
				}},
			},
		},
		thresholdClaim(),
		{
			name:   "a real server that is down",
			does:   "IPVS does not look after its real servers: it goes on sending until somebody changes the table",
			source: "ip_vs_core.c, ip_vs_schedule; ip_vs_in_icmp",
			play: func(b *bench, value string) {
				b.serve(lb.Service{}, lb.NAT, 2)
				b.asks(1, syn)
				switch value {
				case "resets":
					b.answers(1, 1, rst|ack)
				case "unreachable":
					b.sendRaw(director.ServerWire, b.icmpAbout(b.serverEnd(9), hostUnreachable, b.client(1), b.serverEnd(1)))
					b.state(1)
				}
				b.asks(1, syn)
				b.asks(2, syn)
				b.asks(3, syn)
			},
			variants: []variant{
				{value: "silent", shows: "a SYN sent again goes to the same one", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"c2>vip SYN: to servers c2>s2 SYN; s2 SYN_RECV 60s",
					"c3>vip SYN: to servers c3>s1 SYN; s1 SYN_RECV 60s",
				}},
				{value: "resets", shows: "the client gets the RST from the VIP; the same port tried again is scheduled anew, and s1 gets its turn as ever", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"s1>c1 RST ACK: to clients vip>c1 RST ACK; s1 CLOSE 10s",
					"c1>vip SYN: to servers c1>s2 SYN; s2 SYN_RECV 60s",
					"c2>vip SYN: to servers c2>s1 SYN; s1 SYN_RECV 60s",
					"c3>vip SYN: to servers c3>s2 SYN; s2 SYN_RECV 60s",
				}},
				{value: "unreachable", shows: "the client gets the ICMP error, about the VIP", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"s9>c1 ICMP type 3 code 1 about c1>s1: to clients vip>c1 ICMP type 3 code 1 about c1>vip; s1 SYN_RECV 60s",
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"c2>vip SYN: to servers c2>s2 SYN; s2 SYN_RECV 60s",
					"c3>vip SYN: to servers c3>s1 SYN; s1 SYN_RECV 60s",
				}},
			},
		},
	}
}

// thresholdClaim is about both rules of when a destination is overloaded, where
// they agree (see oracle.Overload).
func thresholdClaim() claim {
	return claim{
		name:   "thresholds in mid-stream",
		waits:  true,
		does:   "a real server with upper connections takes no more until there are fewer than lower",
		source: "ip_vs_conn.c, ip_vs_bind_dest, ip_vs_unbind_dest",
		play: func(b *bench, value string) {
			b.setTimeouts(900, 1, 300)
			b.serve(lb.Service{}, lb.DR, 1)
			limit := func(upper, lower uint32) {
				b.edit(1, func(d *lb.Destination) { d.Upper, d.Lower = upper, lower })
				b.note("s1: upper %d, lower %d", upper, lower)
			}
			if value != "none" {
				limit(2, 1)
			}
			for n := 1; n <= 3; n++ {
				b.ask(n, syn)
				if n < 3 {
					b.ask(n, ack)
				}
			}
			if value == "upper 2, raised to 3" {
				limit(3, 1)
				b.ask(4, syn)
				return
			}
			for n := 1; n <= 2; n++ {
				b.ask(n, fin|ack)
				b.awaitNone(n)
				b.note("the entry of c%d has gone", n)
				b.ask(10+n, syn)
			}
		},
		variants: []variant{
			{value: "none", shows: "all connections are taken", want: []string{
				"c1>vip SYN: to servers c1>vip SYN",
				"c1>vip ACK: to servers c1>vip ACK",
				"c2>vip SYN: to servers c2>vip SYN",
				"c2>vip ACK: to servers c2>vip ACK",
				"c3>vip SYN: to servers c3>vip SYN",
				"c1>vip FIN ACK: to servers c1>vip FIN ACK",
				"the entry of c1 has gone",
				"c11>vip SYN: to servers c11>vip SYN",
				"c2>vip FIN ACK: to servers c2>vip FIN ACK",
				"the entry of c2 has gone",
				"c12>vip SYN: to servers c12>vip SYN",
			}},
			{value: "upper 2, lower 1", shows: "the third is refused, and so are others while one is left", want: []string{
				"s1: upper 2, lower 1",
				"c1>vip SYN: to servers c1>vip SYN",
				"c1>vip ACK: to servers c1>vip ACK",
				"c2>vip SYN: to servers c2>vip SYN",
				"c2>vip ACK: to servers c2>vip ACK",
				"c3>vip SYN: to clients vip>c3 port unreachable about c3>vip",
				"c1>vip FIN ACK: to servers c1>vip FIN ACK",
				"the entry of c1 has gone",
				"c11>vip SYN: to clients vip>c11 port unreachable about c11>vip",
				"c2>vip FIN ACK: to servers c2>vip FIN ACK",
				"the entry of c2 has gone",
				"c12>vip SYN: to servers c12>vip SYN",
			}},
			{
				value: "upper 2, raised to 3", shows: "that does not end until there are fewer than lower (before 6.1.183 and its like, the next one was taken)",
				want: []string{
					"s1: upper 2, lower 1",
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"c2>vip SYN: to servers c2>vip SYN",
					"c2>vip ACK: to servers c2>vip ACK",
					"c3>vip SYN: to clients vip>c3 port unreachable about c3>vip",
					"s1: upper 3, lower 1",
					"c4>vip SYN: to clients vip>c4 port unreachable about c4>vip",
				},
				older: []string{
					"s1: upper 2, lower 1",
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK",
					"c2>vip SYN: to servers c2>vip SYN",
					"c2>vip ACK: to servers c2>vip ACK",
					"c3>vip SYN: to clients vip>c3 port unreachable about c3>vip",
					"s1: upper 3, lower 1",
					"c4>vip SYN: to servers c4>vip SYN",
				},
			},
		},
	}
}
