package connections_test

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
)

const (
	syn = director.SYN
	ack = director.ACK
	fin = director.FIN
	rst = director.RST
)

// settings are the claims about net.ipv4.vs, in the order of
// Documentation/networking/ipvs-sysctl.rst as far as it has them.
func settings() []claim {
	return slices.Concat(reuseSettings(), sloppySettings(), defenceSettings(), forwardSettings(), otherSettings())
}

// reuseSettings are about connections whose real server is gone or drained, and
// about client ports that come back.
func reuseSettings() []claim {
	return []claim{
		{
			name:   "expire_nodest_conn",
			does:   "ends a connection whose real server was removed, in place of leaving it to time out while its packets are dropped",
			source: "ip_vs_core.c, ip_vs_in_hook; ip_vs_ctl.c, expire_nodest_conn_handler",
			play: func(b *bench, value string) {
				b.set("expire_nodest_conn", value)
				b.serve(lb.Service{}, lb.NAT, 2)
				b.handshake(1, 1)
				b.remove(1)
				if value == "1" {
					b.await("flush of the connection", flushTimeout, func() bool { return len(b.listEntries()) == 0 })
				}
				b.entries()
				b.ask(1, ack)
				b.ask(1, syn)
				b.entries()
			},
			variants: []variant{
				{value: "0", shows: "the connection stays ESTABLISHED, its packets are dropped, a new SYN of the same port too", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"remove s1",
					"entries: c1>s1 ESTABLISHED 900s",
					"c1>vip ACK: nothing",
					"c1>vip SYN: nothing",
					"entries: c1>s1 ESTABLISHED 900s",
				}},
				{value: "1", shows: "the connection is flushed; its packets get no answer from a real server, a new SYN of the same port goes to another", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"remove s1",
					"entries: none",
					"c1>vip ACK: to clients vip>c1 RST",
					"c1>vip SYN: to servers c1>s2 SYN",
					"entries: c1>s2 SYN_RECV 60s",
				}},
			},
		},
		{
			name:   "expire_quiescent_template",
			does:   "lets a client's persistence end when its real server's weight is 0",
			source: "ip_vs_conn.c, ip_vs_check_template",
			play: func(b *bench, value string) {
				b.set("expire_quiescent_template", value)
				b.serve(lb.Service{Timeout: 300 * time.Second, Key: lb.AddrKey(lb.TCP, b.vip().Addr(), 80)}, lb.NAT, 2)
				b.ask(1, syn)
				b.weigh(1, 0)
				b.askFrom(1, 2, syn)
				b.entries()
			},
			variants: []variant{
				{value: "0", shows: "a drained real server goes on getting new connections of clients that it has", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"weight of s1 = 0",
					"c1:2>vip SYN: to servers c1:2>s1 SYN",
					"entries: c1:2>s1 SYN_RECV 60s, c1>s1 SYN_RECV 60s, template c1>vip>s1 300s",
				}},
				{value: "1", shows: "the client's next connection goes to another real server, and sticks there", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"weight of s1 = 0",
					"c1:2>vip SYN: to servers c1:2>s2 SYN",
					"entries: c1:2>s2 SYN_RECV 60s, c1>s1 SYN_RECV 60s, template c1>vip>s2 300s, void template c1>s1",
				}},
			},
		},
		{
			name:   "conn_reuse_mode",
			does:   "schedules anew when a client port comes back while its old entry is still there: 1 in TIME_WAIT or CLOSE, 2 and 3 also in FIN_WAIT where the director sees the client's side only",
			source: "ip_vs_core.c, is_new_conn_expected",
			play: func(b *bench, value string) {
				b.set("conn_reuse_mode", value)
				for _, forward := range []lb.Forward{lb.NAT, lb.DR} {
					b.note("%s", forward)
					vip := b.vip().Addr()
					if forward == lb.DR {
						vip = vip.Next()
					}
					b.serve(lb.Service{Key: lb.AddrKey(lb.TCP, vip, 80)}, forward, 2)
					b.askVIP(1, vip, syn)
					if forward == lb.NAT {
						b.answer(1, 1, syn|ack)
					}
					b.askVIP(1, vip, ack)
					b.askVIP(1, vip, fin|ack)
					if forward == lb.NAT {
						b.answer(1, 1, fin|ack)
					}
					b.entries()
					b.askVIP(1, vip, syn)
					b.entries()
				}
			},
			variants: []variant{
				{value: "0", shows: "the new connection goes to the old one's real server, in every state", want: []string{
					"Masq",
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"c1>vip FIN ACK: to servers c1>s1 FIN ACK",
					"s1>c1 FIN ACK: to clients vip>c1 FIN ACK",
					"entries: c1>s1 TIME_WAIT 120s",
					"c1>vip SYN: to servers c1>s1 SYN",
					"entries: c1>s1 SYN_RECV 60s",
					"Route",
					"c1>vip2 SYN: to servers c1>vip2 SYN",
					"c1>vip2 ACK: to servers c1>vip2 ACK",
					"c1>vip2 FIN ACK: to servers c1>vip2 FIN ACK",
					"entries: c1>s1 FIN_WAIT 120s, c1>s1 SYN_RECV 60s",
					"c1>vip2 SYN: to servers c1>vip2 SYN",
					"entries: c1>s1 SYN_RECV 60s, c1>s1 SYN_RECV 60s",
				}},
				{value: "1", shows: "it is scheduled anew in TIME_WAIT (NAT), but not in the FIN_WAIT that direct routing leaves", want: []string{
					"Masq",
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"c1>vip FIN ACK: to servers c1>s1 FIN ACK",
					"s1>c1 FIN ACK: to clients vip>c1 FIN ACK",
					"entries: c1>s1 TIME_WAIT 120s",
					"c1>vip SYN: to servers c1>s2 SYN",
					"entries: c1>s2 SYN_RECV 60s",
					"Route",
					"c1>vip2 SYN: to servers c1>vip2 SYN",
					"c1>vip2 ACK: to servers c1>vip2 ACK",
					"c1>vip2 FIN ACK: to servers c1>vip2 FIN ACK",
					"entries: c1>s1 FIN_WAIT 120s, c1>s2 SYN_RECV 60s",
					"c1>vip2 SYN: to servers c1>vip2 SYN",
					"entries: c1>s1 SYN_RECV 60s, c1>s2 SYN_RECV 60s",
				}},
				{value: "2", shows: "it is scheduled anew in FIN_WAIT too", want: []string{
					"Masq",
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"c1>vip FIN ACK: to servers c1>s1 FIN ACK",
					"s1>c1 FIN ACK: to clients vip>c1 FIN ACK",
					"entries: c1>s1 TIME_WAIT 120s",
					"c1>vip SYN: to servers c1>s2 SYN",
					"entries: c1>s2 SYN_RECV 60s",
					"Route",
					"c1>vip2 SYN: to servers c1>vip2 SYN",
					"c1>vip2 ACK: to servers c1>vip2 ACK",
					"c1>vip2 FIN ACK: to servers c1>vip2 FIN ACK",
					"entries: c1>s1 FIN_WAIT 120s, c1>s2 SYN_RECV 60s",
					"c1>vip2 SYN: to servers c1>vip2 SYN",
					"entries: c1>s2 SYN_RECV 60s, c1>s2 SYN_RECV 60s",
				}},
			},
		},
	}
}

const flushTimeout = 30 * time.Second

// sloppySettings take connections up whose beginning was not seen.
func sloppySettings() []claim {
	return []claim{
		{
			name:   "sloppy_tcp",
			does:   "schedules a TCP connection on any packet but a reset, not on a SYN alone: for a fail-over without synchronised connections",
			source: "ip_vs_proto_tcp.c, tcp_conn_schedule",
			play: func(b *bench, value string) {
				b.set("sloppy_tcp", value)
				b.serve(lb.Service{}, lb.NAT, 1)
				b.ask(1, ack)
				b.ask(2, rst)
				b.entries()
			},
			variants: []variant{
				{value: "0", shows: "an ACK without an entry is no business of IPVS: the director itself resets it", want: []string{
					"c1>vip ACK: to clients vip>c1 RST",
					"c2>vip RST: nothing",
					"entries: none",
				}},
				{value: "1", shows: "the ACK makes an entry and is forwarded; a RST still is not", want: []string{
					"c1>vip ACK: to servers c1>s1 ACK",
					"c2>vip RST: nothing",
					"entries: c1>s1 ESTABLISHED 900s",
				}},
			},
		},
		{
			name:   "sloppy_sctp",
			does:   "the same for SCTP: any chunk but ABORT, not INIT alone",
			source: "ip_vs_proto_sctp.c, sctp_conn_schedule",
			play: func(b *bench, value string) {
				b.set("sloppy_sctp", value)
				b.serve(lb.Service{Key: lb.Key{Protocol: lb.SCTP}}, lb.NAT, 1)
				for n, chunk := range []director.Chunk{director.Data, director.Abort, director.Init} {
					p := director.Packet{Protocol: lb.SCTP, Src: b.client(n + 1), Dst: b.vip(), Chunk: chunk}
					fate, to, err := b.Offer(p)
					b.must(err)
					b.note("%s: forwarded %t to %s", chunkWords[chunk], fate == director.Forwarded, b.name(netip.AddrPortFrom(to.Addr, to.Port)))
				}
				b.entries()
			},
			variants: []variant{
				{value: "0", shows: "DATA without an entry is not forwarded, INIT is", want: []string{
					"DATA: forwarded false to ?",
					"ABORT: forwarded false to ?",
					"INIT: forwarded true to s1",
					"entries: c3>s1 INIT1 5s at most",
				}},
				{value: "1", shows: "DATA makes an entry and is forwarded; ABORT still is not", want: []string{
					"DATA: forwarded true to s1",
					"ABORT: forwarded false to ?",
					"INIT: forwarded true to s1",
					"entries: c1>s1 ESTABLISHED 900s, c3>s1 INIT1 5s at most",
				}},
			},
		},
	}
}

// defenceSettings are what a director does when it is flooded. The kernel looks
// at them once a second (ip_vs_ctl.c, defense_work_handler).
func defenceSettings() []claim {
	const halfOpen = 400
	return []claim{
		{
			name:   "drop_entry",
			waits:  true,
			does:   "takes half-open entries away, at random, a 32nd of the table each second: 1 and 2 while memory is short, 3 always",
			source: "ip_vs_conn.c, ip_vs_random_dropentry",
			play: func(b *bench, value string) {
				flood := func(b *bench, value string) {
					b.set("drop_entry", value)
					b.serve(lb.Service{}, lb.DR, 1)
					for n := 1; n <= halfOpen; n++ {
						b.quiet(n, syn)
					}
				}
				flood(b, value)
				judge := b
				if value == "0" { // for as long as it takes with 3
					judge = newBench(b.T)
					flood(judge, "3")
				}
				judge.await("entries being dropped", settleTimeout, func() bool { return judge.destination(1).Counters.Active < halfOpen })
				fewer := b.destination(1).Counters.Active < halfOpen
				b.note("of %d half-open entries some are gone after a while: %t", halfOpen, fewer)
			},
			variants: []variant{
				{value: "0", shows: "none of 400 half-open entries goes before its time", want: []string{
					"of 400 half-open entries some are gone after a while: false",
				}},
				{value: "3", shows: "some are gone within two seconds", want: []string{
					"of 400 half-open entries some are gone after a while: true",
				}},
			},
		},
		{
			name:   "drop_packet am_droprate",
			waits:  true,
			does:   "drops every am_droprate-th packet that would make an entry; drop_packet: 1 and 2 while memory is short (the rate is then made of amemthresh), 3 always",
			source: "ip_vs_ctl.c, update_defense_level; net/ip_vs.h, ip_vs_todrop",
			play: func(b *bench, value string) {
				setting := strings.Fields(value)
				drop := func(b *bench, mode, rate string) {
					b.set("am_droprate", rate)
					b.set("drop_packet", mode)
					b.serve(lb.Service{}, lb.DR, 1)
				}
				drop(b, setting[0], setting[1])
				judge := b
				if setting[0] == "0" {
					judge = newBench(b.T)
					drop(judge, "3", "1")
				}
				n := 100
				judge.await("packets being dropped", settleTimeout, func() bool { n++; return !judge.quiet(n, syn) })
				for n := range 9 {
					b.ask(n+1, syn)
				}
			},
			variants: []variant{
				{value: "0 1", shows: "every SYN is forwarded", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c2>vip SYN: to servers c2>vip SYN",
					"c3>vip SYN: to servers c3>vip SYN",
					"c4>vip SYN: to servers c4>vip SYN",
					"c5>vip SYN: to servers c5>vip SYN",
					"c6>vip SYN: to servers c6>vip SYN",
					"c7>vip SYN: to servers c7>vip SYN",
					"c8>vip SYN: to servers c8>vip SYN",
					"c9>vip SYN: to servers c9>vip SYN",
				}},
				{value: "3 1", shows: "every SYN is dropped", want: []string{
					"c1>vip SYN: nothing",
					"c2>vip SYN: nothing",
					"c3>vip SYN: nothing",
					"c4>vip SYN: nothing",
					"c5>vip SYN: nothing",
					"c6>vip SYN: nothing",
					"c7>vip SYN: nothing",
					"c8>vip SYN: nothing",
					"c9>vip SYN: nothing",
				}},
				{value: "3 3", shows: "every third SYN is dropped", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c2>vip SYN: to servers c2>vip SYN",
					"c3>vip SYN: nothing",
					"c4>vip SYN: to servers c4>vip SYN",
					"c5>vip SYN: to servers c5>vip SYN",
					"c6>vip SYN: nothing",
					"c7>vip SYN: to servers c7>vip SYN",
					"c8>vip SYN: to servers c8>vip SYN",
					"c9>vip SYN: nothing",
				}},
			},
		},
		{
			name:   "amemthresh",
			waits:  true,
			does:   "how many free pages are enough: below that the modes 1 of drop_entry, drop_packet and secure_tcp turn themselves to 2 and act",
			source: "ip_vs_ctl.c, update_defense_level",
			play: func(b *bench, value string) {
				short := func(b *bench, value string) {
					b.set("drop_packet", "1") // which would read 2 at once if memory were short
					b.set("amemthresh", value)
					b.serve(lb.Service{}, lb.DR, 1)
				}
				short(b, value)
				judge := b
				if value == "0" {
					judge = newBench(b.T)
					short(judge, plenty)
				}
				judge.await("memory found short", settleTimeout, func() bool { return judge.read("drop_packet") == "2" })
				b.note("drop_packet = %s", b.read("drop_packet"))
				for n := range 3 {
					b.ask(n+1, syn)
				}
			},
			variants: []variant{
				{value: "0", shows: "drop_packet=1 stays 1 and drops nothing", want: []string{
					"drop_packet = 1",
					"c1>vip SYN: to servers c1>vip SYN",
					"c2>vip SYN: to servers c2>vip SYN",
					"c3>vip SYN: to servers c3>vip SYN",
				}},
				{value: plenty, shows: "with more than there is, drop_packet=1 becomes 2 and every SYN is dropped", want: []string{
					"drop_packet = 2",
					"c1>vip SYN: nothing",
					"c2>vip SYN: nothing",
					"c3>vip SYN: nothing",
				}},
			},
		},
		{
			name:   "secure_tcp",
			waits:  true,
			does:   "follows TCP by a stricter table of states with timeouts of its own: 1 and 2 while memory is short, 3 always",
			source: "ip_vs_proto_tcp.c, tcp_states_dos, tcp_timeout_change; ip_vs_ctl.c, update_defense_level",
			play: func(b *bench, value string) {
				secure := func(b *bench, value string) {
					b.set("secure_tcp", value)
					b.serve(lb.Service{}, lb.NAT, 1)
				}
				shaken := func(b *bench, n int) string {
					b.handshake(n, 1)
					list := b.listEntries()
					return list[slices.IndexFunc(list, func(e string) bool { return strings.HasPrefix(e, b.name(b.client(n))+">") })]
				}
				secure(b, value)
				judge := b
				if value == "0" {
					judge = newBench(b.T)
					secure(judge, "3")
				}
				n := 100
				judge.await("the stricter table", settleTimeout, func() bool { n++; return strings.Contains(shaken(judge, n), "SYNACK") })
				b.account = nil
				b.note("%s", shaken(b, 1))
				b.answer(1, 1, ack)
				b.note("%s", strings.Join(b.only(1), ", "))
			},
			variants: []variant{
				{value: "0", shows: "the client's ACK establishes a connection", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"c1>s1 ESTABLISHED 900s",
					"s1>c1 ACK: to clients vip>c1 ACK",
					"c1>s1 ESTABLISHED 900s",
				}},
				{value: "3", shows: "it stays in SYNACK until the real server has sent more", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"c1>s1 SYNACK 120s",
					"s1>c1 ACK: to clients vip>c1 ACK",
					"c1>s1 ESTABLISHED 900s",
				}},
			},
		},
	}
}

// plenty are more pages than a machine has.
const plenty = "1000000000"

const settleTimeout = 30 * time.Second
