package connections_test

import (
	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
)

// methods are the forwarding methods by ipvsadm's words.
var methods = map[string]lb.Forward{"nat": lb.NAT, "dr": lb.DR, "tun": lb.TUN}

// states are the claims about entries: their state and timer after each packet.
// Behind NAT the director sees both sides, with DR and TUN the client's alone.
func states() []claim {
	return []claim{
		tcpClaim("TCP, closed by the client", func(b *bench, n int, both bool) {
			b.asks(n, fin|ack)
			if both {
				b.answers(1, n, ack)
				b.answers(1, n, fin|ack)
			}
			b.asks(n, ack)
		}),
		tcpClaim("TCP, closed by the real server", func(b *bench, n int, both bool) {
			if both {
				b.answers(1, n, fin|ack)
			}
			b.asks(n, ack)
			b.asks(n, fin|ack)
			if both {
				b.answers(1, n, ack)
			}
		}),
		tcpClaim("TCP, reset by the client", func(b *bench, n int, both bool) {
			b.asks(n, rst)
			b.asks(n, ack)
		}),
		tcpClaim("TCP, half-closed and used on", func(b *bench, n int, both bool) {
			b.asks(n, fin|ack)
			if both {
				b.answers(1, n, ack)
			}
			b.asks(n, ack)
		}),
		{
			name:   "TCP, never completed",
			does:   "a half-open connection; a SYN sent again goes to the same real server",
			source: "ip_vs_proto_tcp.c, tcp_states",
			play: func(b *bench, value string) {
				b.serve(lb.Service{}, lb.NAT, 2)
				b.asks(1, syn)
				switch value {
				case "no answer":
					b.asks(1, syn)
				case "answered":
					b.answers(1, 1, syn|ack)
				case "refused":
					b.answers(1, 1, rst|ack)
				case "taken back":
					b.asks(1, rst)
				}
			},
			variants: []variant{
				{value: "no answer", shows: "SYN_RECV for 60 s", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
				}},
				{value: "answered", shows: "SYN_RECV still, until the client's ACK", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK; s1 SYN_RECV 60s",
				}},
				{value: "refused", shows: "CLOSE for 10 s", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"s1>c1 RST ACK: to clients vip>c1 RST ACK; s1 CLOSE 10s",
				}},
				{value: "taken back", shows: "a RST of the client's is forwarded and leaves SYN_RECV as it is", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"c1>vip RST: to servers c1>s1 RST; s1 SYN_RECV 60s",
				}},
			},
		},
		{
			name:   "UDP",
			does:   "one state; each packet in either direction that the director sees sets the timer to 300 s",
			source: "ip_vs_proto_udp.c, udp_state_transition",
			play: func(b *bench, value string) {
				b.serve(lb.Service{Key: lb.Key{Protocol: lb.UDP}}, methods[value], 2)
				b.asks(1, 0)
				if value == "nat" {
					b.answers(1, 1, 0)
				}
				b.asks(1, 0)
				b.asks(2, 0)
				b.counters()
			},
			variants: []variant{
				{value: "nat", shows: "the answer has the VIP as source; entries count as inactive", want: []string{
					"c1>vip datagram: to servers c1>s1 datagram; s1 UDP 300s",
					"s1>c1 datagram: to clients vip>c1 datagram; s1 UDP 300s",
					"c1>vip datagram: to servers c1>s1 datagram; s1 UDP 300s",
					"c2>vip datagram: to servers c2>s2 datagram; s2 UDP 300s",
					"counters: s1 0 active 1 inactive, s2 0 active 1 inactive",
				}},
				{value: "dr", shows: "the same of the client's side alone", want: []string{
					"c1>vip datagram: to servers c1>vip datagram; s1 UDP 300s",
					"c1>vip datagram: to servers c1>vip datagram; s1 UDP 300s",
					"c2>vip datagram: to servers c2>vip datagram; s2 UDP 300s",
					"counters: s1 0 active 1 inactive, s2 0 active 1 inactive",
				}},
				{value: "tun", shows: "the same of the client's side alone", want: []string{
					"c1>vip datagram: to servers director>s1 ipip[c1>vip datagram]; s1 UDP 300s",
					"c1>vip datagram: to servers director>s1 ipip[c1>vip datagram]; s1 UDP 300s",
					"c2>vip datagram: to servers director>s2 ipip[c2>vip datagram]; s2 UDP 300s",
					"counters: s1 0 active 1 inactive, s2 0 active 1 inactive",
				}},
			},
		},
		{
			name:   "one-packet scheduling",
			does:   "with ipvsadm -o every UDP packet is scheduled by itself, and no entry is left",
			source: "ip_vs_core.c, ip_vs_schedule (IP_VS_CONN_F_ONE_PACKET)",
			play: func(b *bench, value string) {
				s := lb.Service{Key: lb.Key{Protocol: lb.UDP}}
				if value == "-o" {
					s.Flags = lb.OnePacket
				}
				b.serve(s, lb.NAT, 2)
				b.asks(1, 0)
				b.asks(1, 0)
				b.answer(1, 1, 0)
				b.counters()
			},
			variants: []variant{
				{value: "without", shows: "a client's packets go to one real server", want: []string{
					"c1>vip datagram: to servers c1>s1 datagram; s1 UDP 300s",
					"c1>vip datagram: to servers c1>s1 datagram; s1 UDP 300s",
					"s1>c1 datagram: to clients vip>c1 datagram",
					"counters: s1 0 active 1 inactive, s2 0 active 0 inactive",
				}},
				{value: "-o", shows: "they go to one after the other; nothing is left of a connection, so that NAT does not know whose an answer is and lets it through as it is", want: []string{
					"c1>vip datagram: to servers c1>s1 datagram; no entry",
					"c1>vip datagram: to servers c1>s2 datagram; no entry",
					"s1>c1 datagram: to clients s1>c1 datagram",
					"counters: s1 0 active 0 inactive, s2 0 active 0 inactive",
				}},
			},
		},
		sctpClaim(),
		{
			name:   "timeouts set",
			does:   "ipvsadm --set changes the timers of ESTABLISHED, FIN_WAIT and UDP, for packets from then on",
			source: "ip_vs_ctl.c, ip_vs_set_timeout",
			play: func(b *bench, value string) {
				b.serve(lb.Service{}, lb.DR, 1)
				b.ask(1, syn)
				if value == "60 30 15" {
					b.setTimeouts(60, 30, 15)
				}
				b.asks(1, ack)
				b.asks(1, fin|ack)
				b.serve(lb.Service{Key: lb.Key{Protocol: lb.UDP}}, lb.DR, 1)
				b.asks(2, 0)
			},
			variants: []variant{
				{value: "900 120 300", shows: "the kernel's own", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
					"c1>vip FIN ACK: to servers c1>vip FIN ACK; s1 FIN_WAIT 120s",
					"c2>vip datagram: to servers c2>vip datagram; s1 UDP 300s",
				}},
				{value: "60 30 15", shows: "each has its own", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 60s",
					"c1>vip FIN ACK: to servers c1>vip FIN ACK; s1 FIN_WAIT 30s",
					"c2>vip datagram: to servers c2>vip datagram; s1 UDP 15s",
				}},
			},
		},
		{
			name:   "timeouts obeyed",
			waits:  true,
			does:   "an entry goes when its timer has run out, and its client port is scheduled anew",
			source: "ip_vs_conn.c, ip_vs_conn_expire",
			play: func(b *bench, value string) {
				open := func(b *bench, seconds int) {
					b.setTimeouts(seconds, seconds, seconds)
					b.serve(lb.Service{Key: lb.Key{Protocol: lb.UDP}}, lb.DR, 2)
				}
				judge := b
				if value == "300" {
					judge = newBench(b.T)
					open(judge, 1)
					open(b, 300)
					b.asks(1, 0)
				} else {
					open(b, 1)
				}
				judge.ask(1, 0)
				judge.awaitNone(1)
				b.note("after a while")
				b.state(1)
				b.setTimeouts(900, 120, 300)
				b.asks(1, 0)
			},
			variants: []variant{
				{value: "1", shows: "gone after a second, the next datagram goes to the next real server", want: []string{
					"c1>vip datagram: to servers c1>vip datagram",
					"after a while; no entry",
					"c1>vip datagram: to servers c1>vip datagram; s2 UDP 300s",
				}},
				{value: "300", shows: "there all that time, the next datagram goes to the same one", want: []string{
					"c1>vip datagram: to servers c1>vip datagram; s1 UDP 300s",
					"after a while; s1 UDP 300s",
					"c1>vip datagram: to servers c1>vip datagram; s1 UDP 300s",
				}},
			},
		},
	}
}

// tcpClaim is about a connection that was established, and how it ends.
func tcpClaim(name string, end func(b *bench, n int, both bool)) claim {
	return claim{
		name:   name,
		does:   "the states of an established connection, and how long each lasts",
		source: "ip_vs_proto_tcp.c, tcp_states, tcp_timeouts",
		play: func(b *bench, value string) {
			both := value == "nat"
			b.serve(lb.Service{}, methods[value], 1)
			b.asks(1, syn)
			if both {
				b.answers(1, 1, syn|ack)
			}
			b.asks(1, ack)
			b.counters()
			end(b, 1, both)
			b.counters()
		},
		variants: tcpVariants[name],
	}
}

var tcpVariants = map[string][]variant{
	"TCP, closed by the client": {
		{value: "nat", shows: "SYN_RECV 60 s, ESTABLISHED 900 s, CLOSE_WAIT 60 s, TIME_WAIT 120 s", want: []string{
			"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
			"s1>c1 SYN ACK: to clients vip>c1 SYN ACK; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip FIN ACK: to servers c1>s1 FIN ACK; s1 CLOSE_WAIT 60s",
			"s1>c1 ACK: to clients vip>c1 ACK; s1 CLOSE_WAIT 60s",
			"s1>c1 FIN ACK: to clients vip>c1 FIN ACK; s1 TIME_WAIT 120s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 TIME_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "dr", shows: "SYN_RECV 60 s, ESTABLISHED 900 s, then FIN_WAIT 120 s to the end", want: []string{
			"c1>vip SYN: to servers c1>vip SYN; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip FIN ACK: to servers c1>vip FIN ACK; s1 FIN_WAIT 120s",
			"c1>vip ACK: to servers c1>vip ACK; s1 FIN_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "tun", shows: "the same as with dr", want: []string{
			"c1>vip SYN: to servers director>s1 ipip[c1>vip SYN]; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip FIN ACK: to servers director>s1 ipip[c1>vip FIN ACK]; s1 FIN_WAIT 120s",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 FIN_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
	},
	"TCP, closed by the real server": {
		{value: "nat", shows: "FIN_WAIT 120 s, then TIME_WAIT 120 s with the client's FIN", want: []string{
			"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
			"s1>c1 SYN ACK: to clients vip>c1 SYN ACK; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"s1>c1 FIN ACK: to clients vip>c1 FIN ACK; s1 FIN_WAIT 120s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 FIN_WAIT 120s",
			"c1>vip FIN ACK: to servers c1>s1 FIN ACK; s1 TIME_WAIT 120s",
			"s1>c1 ACK: to clients vip>c1 ACK; s1 TIME_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "dr", shows: "nothing is seen of it until the client's own FIN: FIN_WAIT 120 s", want: []string{
			"c1>vip SYN: to servers c1>vip SYN; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
			"c1>vip FIN ACK: to servers c1>vip FIN ACK; s1 FIN_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "tun", shows: "as with dr, that too", want: []string{
			"c1>vip SYN: to servers director>s1 ipip[c1>vip SYN]; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 ESTABLISHED 900s",
			"c1>vip FIN ACK: to servers director>s1 ipip[c1>vip FIN ACK]; s1 FIN_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
	},
	"TCP, reset by the client": {
		{value: "nat", shows: "CLOSE 10 s", want: []string{
			"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
			"s1>c1 SYN ACK: to clients vip>c1 SYN ACK; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip RST: to servers c1>s1 RST; s1 CLOSE 10s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 CLOSE 10s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "dr", shows: "CLOSE for 10 s", want: []string{
			"c1>vip SYN: to servers c1>vip SYN; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip RST: to servers c1>vip RST; s1 CLOSE 10s",
			"c1>vip ACK: to servers c1>vip ACK; s1 CLOSE 10s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "tun", shows: "also CLOSE 10 s", want: []string{
			"c1>vip SYN: to servers director>s1 ipip[c1>vip SYN]; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip RST: to servers director>s1 ipip[c1>vip RST]; s1 CLOSE 10s",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 CLOSE 10s",
			"counters: s1 0 active 1 inactive",
		}},
	},
	"TCP, half-closed and used on": {
		{value: "nat", shows: "CLOSE_WAIT with 60 s from each packet on: a client that reads for longer in silence is forgotten", want: []string{
			"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
			"s1>c1 SYN ACK: to clients vip>c1 SYN ACK; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip FIN ACK: to servers c1>s1 FIN ACK; s1 CLOSE_WAIT 60s",
			"s1>c1 ACK: to clients vip>c1 ACK; s1 CLOSE_WAIT 60s",
			"c1>vip ACK: to servers c1>s1 ACK; s1 CLOSE_WAIT 60s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "dr", shows: "FIN_WAIT with 120 s from each packet on", want: []string{
			"c1>vip SYN: to servers c1>vip SYN; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers c1>vip ACK; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip FIN ACK: to servers c1>vip FIN ACK; s1 FIN_WAIT 120s",
			"c1>vip ACK: to servers c1>vip ACK; s1 FIN_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
		{value: "tun", shows: "FIN_WAIT with 120 s from each packet on", want: []string{
			"c1>vip SYN: to servers director>s1 ipip[c1>vip SYN]; s1 SYN_RECV 60s",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 ESTABLISHED 900s",
			"counters: s1 1 active 0 inactive",
			"c1>vip FIN ACK: to servers director>s1 ipip[c1>vip FIN ACK]; s1 FIN_WAIT 120s",
			"c1>vip ACK: to servers director>s1 ipip[c1>vip ACK]; s1 FIN_WAIT 120s",
			"counters: s1 0 active 1 inactive",
		}},
	},
}

func sctpClaim() claim {
	return claim{
		name:   "SCTP",
		does:   "an association's states, from its chunks",
		source: "ip_vs_proto_sctp.c, sctp_states, sctp_timeouts",
		play: func(b *bench, value string) {
			b.serve(lb.Service{Key: lb.Key{Protocol: lb.SCTP}}, methods[value], 1)
			both := value == "nat"
			for _, step := range []struct {
				server bool
				chunk  director.Chunk
			}{
				{false, director.Init},
				{true, director.InitAck},
				{false, director.CookieEcho},
				{true, director.CookieAck},
				{false, director.Data},
				{false, director.Shutdown},
				{true, director.ShutdownAck},
				{false, director.ShutdownComplete},
			} {
				switch {
				case step.server && both:
					b.sctp(1, 1, step.chunk)
				case !step.server:
					b.sctp(0, 1, step.chunk)
				}
			}
			b.sctp(0, 2, director.Init)
			b.sctp(0, 2, director.Abort)
		},
		variants: []variant{
			{value: "nat", shows: "both sides' chunks are followed, and addresses rewritten", want: []string{
				"c1>vip INIT: to servers c1>s1 INIT; s1 INIT1 5s at most",
				"s1>c1 INIT ACK: to clients vip>c1 INIT ACK; s1 C-SENT 60s",
				"c1>vip COOKIE ECHO: to servers c1>s1 COOKIE ECHO; s1 C-REPLIED 60s",
				"s1>c1 COOKIE ACK: to clients vip>c1 COOKIE ACK; s1 ESTABLISHED 900s",
				"c1>vip DATA: to servers c1>s1 DATA; s1 ESTABLISHED 900s",
				"c1>vip SHUTDOWN: to servers c1>s1 SHUTDOWN; s1 S-RECEIVED 60s",
				"s1>c1 SHUTDOWN ACK: to clients vip>c1 SHUTDOWN ACK; s1 S-ACK-SENT 60s",
				"c1>vip SHUTDOWN COMPLETE: to servers c1>s1 SHUTDOWN COMPLETE; s1 CLOSED 60s",
				"c2>vip INIT: to servers c2>s1 INIT; s1 INIT1 5s at most",
				"c2>vip ABORT: to servers c2>s1 ABORT; s1 CLOSED 60s",
			}},
			{value: "dr", shows: "the client's chunks alone are", want: []string{
				"c1>vip INIT: to servers c1>vip INIT; s1 INIT1 5s at most",
				"c1>vip COOKIE ECHO: to servers c1>vip COOKIE ECHO; s1 ESTABLISHED 900s",
				"c1>vip DATA: to servers c1>vip DATA; s1 ESTABLISHED 900s",
				"c1>vip SHUTDOWN: to servers c1>vip SHUTDOWN; s1 S-RECEIVED 60s",
				"c1>vip SHUTDOWN COMPLETE: to servers c1>vip SHUTDOWN COMPLETE; s1 CLOSED 60s",
				"c2>vip INIT: to servers c2>vip INIT; s1 INIT1 5s at most",
				"c2>vip ABORT: to servers c2>vip ABORT; s1 CLOSED 60s",
			}},
			{value: "tun", shows: "the client's chunks alone are, inside the tunnel", want: []string{
				"c1>vip INIT: to servers director>s1 ipip[c1>vip INIT]; s1 INIT1 5s at most",
				"c1>vip COOKIE ECHO: to servers director>s1 ipip[c1>vip COOKIE ECHO]; s1 ESTABLISHED 900s",
				"c1>vip DATA: to servers director>s1 ipip[c1>vip DATA]; s1 ESTABLISHED 900s",
				"c1>vip SHUTDOWN: to servers director>s1 ipip[c1>vip SHUTDOWN]; s1 S-RECEIVED 60s",
				"c1>vip SHUTDOWN COMPLETE: to servers director>s1 ipip[c1>vip SHUTDOWN COMPLETE]; s1 CLOSED 60s",
				"c2>vip INIT: to servers director>s1 ipip[c2>vip INIT]; s1 INIT1 5s at most",
				"c2>vip ABORT: to servers director>s1 ipip[c2>vip ABORT]; s1 CLOSED 60s",
			}},
		},
	}
}
