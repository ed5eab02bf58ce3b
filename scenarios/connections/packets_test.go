package connections_test

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
)

// tunnels are ipvsadm's --tun-type, --tun-port and --tun-csum, by name.
// --tun-remcsum changes only packets whose checksum is left to the device, which
// those from a wire are not.
var tunnels = map[string]lb.Tunnel{
	"ipip": {}, "gre": {Type: lb.GRE}, "gre csum": {Type: lb.GRE, Flags: 1},
	"gue": {Type: lb.GUE, Port: guePort}, "gue csum": {Type: lb.GUE, Port: guePort, Flags: 1},
}

// packets are the claims about what leaves the director.
func packets() []claim {
	return []claim{
		tunnelClaim("tunnels", false, false), tunnelClaim("tunnels, IPv6", true, false), tunnelClaim("tunnels, IPv6 over IPv4", true, true),
		mtuClaim("MTU, don't fragment", true), mtuClaim("MTU, may be fragmented", false),
		{
			name:   "MTU behind the director",
			does:   "an ICMP error of a router between director and real server finds its way back to the client",
			source: "ip_vs_core.c, ip_vs_out_icmp, ip_vs_in_icmp; ip_vs_core.c, handle_response_icmp",
			play: func(b *bench, value string) {
				b.serve(lb.Service{}, methods[value], 1)
				b.asks(1, syn)
				about := b.serverEnd(1)
				if value == "dr" {
					about = b.vip()
				}
				b.sendRaw(director.ServerWire, b.icmpAbout(b.serverEnd(9), tooBig, b.client(1), about))
			},
			variants: []variant{
				{value: "nat", shows: "the error comes from the VIP and is about the VIP", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN; s1 SYN_RECV 60s",
					"s9>c1 too big for 1300 about c1>s1: to clients vip>c1 too big for 1300 about c1>vip",
				}},
				{value: "dr", shows: "it is forwarded as it is, from the router: about the VIP from the start", want: []string{
					"c1>vip SYN: to servers c1>vip SYN; s1 SYN_RECV 60s",
					"s9>c1 too big for 1300 about c1>vip: to clients s9>c1 too big for 1300 about c1>vip",
				}},
			},
		},
		{
			name:   "ports of NAT",
			does:   "NAT translates the port, DR can't; a destination of port 0 keeps the client's",
			source: "ip_vs_xmit.c, ip_vs_nat_xmit",
			needs:  []string{"tc:skbedit"},
			play: func(b *bench, value string) {
				switch value {
				case "firewall mark", "firewall mark, IPv6":
					family := lb.IPv4
					if b.v6 = value != "firewall mark"; b.v6 {
						family = lb.IPv6
					}
					b.must(b.Mark(7))
					b.serve(lb.Service{Key: lb.MarkKey(7, family)}, lb.NAT, 0)
					b.add(lb.Destination{DestKey: lb.DestKey{Addr: b.server(1).Addr}, Weight: 1})
				default:
					b.serve(lb.Service{}, lb.NAT, 0)
					b.add(lb.Destination{DestKey: lb.DestKey{Addr: b.server(1).Addr, Port: 8080}, Weight: 1})
				}
				b.note("service %s", b.service.Key)
				for _, port := range []uint16{80, 81, 8010} {
					b.send(director.ClientWire, director.Packet{
						Protocol: lb.TCP, Src: b.client(1), Dst: netip.AddrPortFrom(b.vip().Addr(), port), Flags: syn,
					})
				}
			},
			variants: []variant{
				{value: "8080", shows: "the real server is asked at its own port", want: []string{
					"service tcp 10.99.0.1:80",
					"c1>vip SYN: to servers c1>s1:8080 SYN",
					"c1>vip:81 SYN: to clients vip:81>c1 RST ACK",
					"c1>vip:8010 SYN: to clients vip:8010>c1 RST ACK",
				}},
				{value: "firewall mark", shows: "a range of ports goes to the same ports of the real server", want: []string{
					"service fwmark 7",
					"c1>vip SYN: to servers c1>s1 SYN",
					"c1>vip:81 SYN: to servers c1>s1:81 SYN",
					"c1>vip:8010 SYN: to servers c1>s1:8010 SYN",
				}},
				{value: "firewall mark, IPv6", shows: "the same over IPv6", want: []string{
					"service fwmark 7 (IPv6)",
					"c1>vip SYN: to servers c1>s1 SYN",
					"c1>vip:81 SYN: to servers c1>s1:81 SYN",
					"c1>vip:8010 SYN: to servers c1>s1:8010 SYN",
				}},
			},
		},
		{
			name:   "local node",
			does:   "a real server's address that is the director's own is served by the director itself, whatever the method",
			source: "ip_vs_xmit.c, __ip_vs_get_out_rt (IP_VS_RT_MODE_LOCAL)",
			play: func(b *bench, value string) {
				b.serve(lb.Service{}, lb.DR, 0)
				d := lb.Destination{DestKey: b.server(1), Forward: lb.DR, Weight: 1}
				if value == "local" {
					d.Addr = b.vip().Addr().Next()
				}
				b.add(d)
				b.asks(1, syn)
			},
			variants: []variant{
				{value: "remote", shows: "forwarded", want: []string{
					"c1>vip SYN: to servers c1>vip SYN; s1 SYN_RECV 60s",
				}},
				{value: "local", shows: "delivered here, where nobody listens", want: []string{
					"c1>vip SYN: to clients vip>c1 RST ACK; vip2 CLOSE 10s",
				}},
			},
		},
	}
}

// tunnelClaim is about what a packet travels in. The TTL of the packet inside
// is one less for having been forwarded.
func tunnelClaim(name string, v6, mixed bool) claim {
	return claim{
		name:   name,
		does:   "the packet travels whole, with the client's addresses, inside one from the director to the real server",
		source: "ip_vs_xmit.c, ip_vs_tunnel_xmit, ip_vs_gue_encap, ip_vs_gre_encap",
		play: func(b *bench, value string) {
			b.v6, b.mixed = v6, mixed
			b.serve(lb.Service{}, lb.TUN, 0)
			b.add(lb.Destination{DestKey: b.server(1), Forward: lb.TUN, Weight: 1, Tunnel: tunnels[value]})
			b.asks(1, syn)
			b.outer(1, ack)
		},
		variants: tunnelVariants[name],
	}
}

var tunnelVariants = map[string][]variant{
	"tunnels": {
		{value: "ipip", shows: "IPv4 in IPv4: protocol 4", want: []string{
			"c1>vip SYN: to servers director>s1 ipip[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 4; inside TTL 63",
		}},
		{value: "gre", shows: "a GRE header of 4 bytes", want: []string{
			"c1>vip SYN: to servers director>s1 gre[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 47; GRE of 4 bytes, flags 00; inside TTL 63",
		}},
		{value: "gre csum", shows: "8 bytes, with a checksum", want: []string{
			"c1>vip SYN: to servers director>s1 gre[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 47; GRE of 8 bytes, flags 80; inside TTL 63",
		}},
		{value: "gue", shows: "a UDP header without checksum, a GUE header of 4 bytes", want: []string{
			"c1>vip SYN: to servers director>s1 gue[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 17; UDP to port 6080 without checksum, GUE of 4 bytes; inside TTL 63",
		}},
		{value: "gue csum", shows: "a UDP header with checksum", want: []string{
			"c1>vip SYN: to servers director>s1 gue[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 17; UDP to port 6080 with checksum, GUE of 4 bytes; inside TTL 63",
		}},
	},
	"tunnels, IPv6": {
		{value: "ipip", shows: "IPv6 in IPv6: protocol 41", want: []string{
			"c1>vip SYN: to servers director>s1 ipip[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv6, TTL 63, protocol 41; inside TTL 63",
		}},
		{value: "gre", shows: "a GRE header of 4 bytes, in IPv6", want: []string{
			"c1>vip SYN: to servers director>s1 gre[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv6, TTL 63, protocol 47; GRE of 4 bytes, flags 00; inside TTL 63",
		}},
		{value: "gre csum", shows: "8 bytes, with a checksum, in IPv6", want: []string{
			"c1>vip SYN: to servers director>s1 gre[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv6, TTL 63, protocol 47; GRE of 8 bytes, flags 80; inside TTL 63",
		}},
		{value: "gue", shows: "a UDP header without checksum, a GUE header of 4 bytes, in IPv6", want: []string{
			"c1>vip SYN: to servers director>s1 gue[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv6, TTL 63, protocol 17; UDP to port 6080 without checksum, GUE of 4 bytes; inside TTL 63",
		}},
		{value: "gue csum", shows: "a UDP header with checksum, in IPv6", want: []string{
			"c1>vip SYN: to servers director>s1 gue[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv6, TTL 63, protocol 17; UDP to port 6080 with checksum, GUE of 4 bytes; inside TTL 63",
		}},
	},
	"tunnels, IPv6 over IPv4": {
		{value: "ipip", shows: "IPv6 in IPv4: protocol 41", want: []string{
			"c1>vip SYN: to servers director>s1 ipip[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 41; inside TTL 63",
		}},
		{value: "gre", shows: "a GRE header of 4 bytes, in IPv4", want: []string{
			"c1>vip SYN: to servers director>s1 gre[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 47; GRE of 4 bytes, flags 00; inside TTL 63",
		}},
		{value: "gre csum", shows: "8 bytes, with a checksum, in IPv4", want: []string{
			"c1>vip SYN: to servers director>s1 gre[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 47; GRE of 8 bytes, flags 80; inside TTL 63",
		}},
		{value: "gue", shows: "a UDP header without checksum, a GUE header of 4 bytes, in IPv4", want: []string{
			"c1>vip SYN: to servers director>s1 gue[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 17; UDP to port 6080 without checksum, GUE of 4 bytes; inside TTL 63",
		}},
		{value: "gue csum", shows: "a UDP header with checksum, in IPv4", want: []string{
			"c1>vip SYN: to servers director>s1 gue[c1>vip SYN]; s1 SYN_RECV 60s",
			"outside: IPv4, TTL 63, protocol 17; UDP to port 6080 with checksum, GUE of 4 bytes; inside TTL 63",
		}},
	},
}

// outer sends a packet of client n and notes the tunnel's headers byte by byte.
func (b *bench) outer(n int, f director.Flags) {
	b.Helper()
	raw, err := director.Packet{Protocol: lb.TCP, Src: b.client(n), Dst: b.vip(), Flags: f}.Bytes()
	b.must(err)
	b.must(b.Send(director.ClientWire, raw))
	seen, err := b.Drain()
	b.must(err)
	for _, s := range seen {
		b.note("outside: %s", outside(s.Data, raw))
	}
}

// outside describes what a packet was wrapped in.
func outside(packet, inner []byte) string {
	version, length, ttl, protocol := 4, 20, 8, 9
	if packet[0]>>4 == 6 {
		version, length, ttl, protocol = 6, 40, 7, 6
	}
	text := []string{fmt.Sprintf("IPv%d, TTL %d, protocol %d", version, packet[ttl], packet[protocol])}
	rest := packet[length:]
	head := rest[:len(rest)-len(inner)]
	switch packet[protocol] {
	case 17:
		checksum := "without checksum"
		if head[6]|head[7] != 0 {
			checksum = "with checksum"
		}
		text = append(text, fmt.Sprintf("UDP to port %d %s, GUE of %d bytes", int(head[2])<<8|int(head[3]), checksum, len(head)-8))
	case 47:
		text = append(text, fmt.Sprintf("GRE of %d bytes, flags %02x", len(head), head[0]))
	}
	in := rest[len(head):]
	innerTTL := in[8]
	if in[0]>>4 == 6 {
		innerTTL = in[7]
	}
	return strings.Join(append(text, fmt.Sprintf("inside TTL %d", innerTTL)), "; ")
}

// mtuClaim is about packets of 1,500 bytes on a way that takes 1,400.
func mtuClaim(name string, df bool) claim {
	return claim{
		name:   name,
		does:   "a packet of 1,500 bytes on a way to the real server that takes 1,400",
		source: "ip_vs_xmit.c, ensure_mtu_is_adequate",
		play: func(b *bench, value string) {
			words := strings.Fields(value)
			b.v6 = len(words) > 1 && words[1] == "IPv6"
			b.serve(lb.Service{}, 0, 0)
			d := lb.Destination{DestKey: b.server(1), Weight: 1}
			if m, ok := methods[words[0]]; ok {
				d.Forward = m
			} else {
				d.Forward, d.Tunnel = lb.TUN, tunnels[words[0]]
			}
			b.add(d)
			b.rtnl(func(h *netlink.Handle) error {
				l, err := h.LinkByName("servers")
				if err != nil {
					return err
				}
				return h.LinkSetMTU(l, 1400)
			})
			size := 1460
			if b.v6 {
				size = 1440
			}
			b.send(director.ClientWire, director.Packet{
				Protocol: lb.TCP, Src: b.client(1), Dst: b.vip(), Flags: syn, Size: size, DontFragment: df,
			})
		},
		variants: mtuVariants(df),
	}
}

func mtuVariants(df bool) []variant {
	if !df {
		return []variant{
			{value: "nat", shows: "two fragments", want: []string{
				"c1>vip SYN 1460 bytes: to servers c1>s1 fragment at 0, to servers c1>s1 fragment at 1376",
			}},
			{value: "dr", shows: "two fragments, to the VIP", want: []string{
				"c1>vip SYN 1460 bytes: to servers c1>vip fragment at 0, to servers c1>vip fragment at 1376",
			}},
			{value: "ipip", shows: "the outer packet is fragmented", want: []string{
				"c1>vip SYN 1460 bytes: to servers director>s1 ipip[c1>vip SYN 1460 bytes], to servers director>s1 fragment at 1376",
			}},
		}
	}
	return []variant{
		{value: "nat", shows: "ICMP \"fragmentation needed\" from the VIP: 1,400", want: []string{
			"c1>vip SYN 1460 bytes: to clients vip>c1 too big for 1400 about c1>vip",
		}},
		{value: "nat IPv6", shows: "ICMPv6 \"packet too big\": 1,400", want: []string{
			"c1>vip SYN 1440 bytes: to clients director>c1 too big for 1400 about c1>vip",
		}},
		{value: "ipip", shows: "20 bytes less: 1,380", want: []string{
			"c1>vip SYN 1460 bytes: to clients vip>c1 too big for 1380 about c1>vip",
		}},
		{value: "ipip IPv6", shows: "40 bytes less: 1,360", want: []string{
			"c1>vip SYN 1440 bytes: to clients director>c1 too big for 1360 about c1>vip",
		}},
		{value: "gre", shows: "24 bytes less: 1,376", want: []string{
			"c1>vip SYN 1460 bytes: to clients vip>c1 too big for 1376 about c1>vip",
		}},
		{value: "gue", shows: "32 bytes less: 1,368", want: []string{
			"c1>vip SYN 1460 bytes: to clients vip>c1 too big for 1368 about c1>vip",
		}},
	}
}

// The ICMP errors that real servers' networks send.
var (
	hostUnreachable = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeHost)
	tooBig          = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded)
)

// icmpAbout is an ICMP error from a router about a client's TCP packet.
func (b *bench) icmpAbout(router netip.AddrPort, what layers.ICMPv4TypeCode, client, to netip.AddrPort) []byte {
	b.Helper()
	about, err := director.Packet{Protocol: lb.TCP, Src: client, Dst: to, Flags: syn}.Bytes()
	b.must(err)
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: router.Addr().AsSlice(), DstIP: client.Addr().AsSlice(),
	}
	icmp := &layers.ICMPv4{TypeCode: what}
	if what == tooBig {
		icmp.Seq = 1300 // the MTU (RFC 1191)
	}
	return b.serialize(ip, icmp, gopacket.Payload(about))
}
