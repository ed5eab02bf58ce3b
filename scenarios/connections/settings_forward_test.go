package connections_test

import (
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
)

// forwardSettings are about how packets travel.
func forwardSettings() []claim {
	return []claim{
		{
			name:   "conntrack",
			does:   "keeps forwarded connections in the firewall's connection tracking, so that rules can see them",
			source: "ip_vs_nfct.c, ip_vs_update_conntrack; ip_vs_xmit.c, ip_vs_tunnel_xmit_prepare and ip_vs_notrack",
			play: func(b *bench, value string) {
				b.set("conntrack", value)
				// A NAT service of FTP's port turns tracking on in the namespace
				// (ip_vs_ctl.c, ip_vs_register_conntrack); else a firewall's rule does.
				b.serve(lb.Service{Key: lb.AddrKey(lb.TCP, b.vip().Addr(), 21)}, lb.NAT, 1)
				b.serve(lb.Service{}, lb.NAT, 1)
				b.handshake(1, 1)
				b.tracked()
			},
			variants: []variant{
				{value: "0", shows: "connection tracking has no entry of it", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"tracked: none",
				}},
				{value: "1", shows: "it has one, whose answers are expected from the real server", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
					"c1>vip ACK: to servers c1>s1 ACK",
					"tracked: c1>vip, answer s1>c1",
				}},
			},
		},
		{
			name:   "snat_reroute",
			does:   "looks for an answer's route again once the VIP is its source, as if the director had sent it",
			source: "ip_vs_core.c, ip_vs_route_me_harder",
			play: func(b *bench, value string) {
				b.set("snat_reroute", value)
				b.serve(lb.Service{}, lb.NAT, 1)
				b.fromVIPBy("servers")
				b.ask(1, syn)
				b.answer(1, 1, syn|ack)
			},
			variants: []variant{
				{value: "0", shows: "the answer leaves by the route for the real server's address as source", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to clients vip>c1 SYN ACK",
				}},
				{value: "1", shows: "it leaves by the route that a rule has for the VIP as source", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"s1>c1 SYN ACK: to servers vip>c1 SYN ACK",
				}},
			},
		},
		{
			name:   "schedule_icmp",
			does:   "schedules ICMP errors about connections that the director doesn't know",
			source: "ip_vs_core.c, ip_vs_in_icmp",
			play: func(b *bench, value string) {
				b.set("schedule_icmp", value)
				b.serve(lb.Service{}, lb.NAT, 1)
				b.clientUnreachable(1)
				b.entries()
			},
			variants: []variant{
				{value: "0", shows: "the error ends at the director", want: []string{
					"c1>vip port unreachable about vip>c1: nothing",
					"entries: none",
				}},
				{value: "1", shows: "it makes an entry and is forwarded, its quotation rewritten", want: []string{
					"c1>vip port unreachable about vip>c1: to servers c1>s1 port unreachable about s1>c1",
					"entries: c1>s1 NONE 5s at most",
				}},
			},
		},
		{
			name:   "pmtu_disc",
			does:   "tunnels: keeps the packet's DF and answers ICMP \"fragmentation needed\" when the outer header doesn't fit",
			source: "ip_vs_xmit.c, ensure_mtu_is_adequate, ip_vs_tunnel_xmit",
			play: func(b *bench, value string) {
				b.set("pmtu_disc", value)
				b.serve(lb.Service{}, lb.TUN, 1)
				for _, size := range []int{1440, 1441} {
					b.send(director.ClientWire, director.Packet{
						Protocol: lb.TCP, Src: b.client(1), Dst: b.vip(), Flags: syn, Size: size, DontFragment: true,
					})
				}
			},
			variants: []variant{
				{value: "0", shows: "a packet of 1481 bytes goes in two fragments; DF is not copied", want: []string{
					"c1>vip SYN 1440 bytes: to servers director>s1 ipip[c1>vip SYN 1440 bytes]",
					"c1>vip SYN 1441 bytes: to servers director>s1 ipip[c1>vip SYN 1441 bytes], to servers director>s1 fragment at 1480",
				}},
				{value: "1", shows: "1480 bytes fit, of 1481 the client is told that 1480 is the most", want: []string{
					"c1>vip SYN 1440 bytes: to servers director>s1 DF ipip[c1>vip SYN 1440 bytes]",
					"c1>vip SYN 1441 bytes: to clients vip>c1 too big for 1480 about c1>vip",
				}},
			},
		},
		{
			name:   "nat_icmp_send",
			does:   "tells a NAT real server whose connection the director has forgotten, in place of letting its packet through as it is",
			source: "ip_vs_core.c, ip_vs_out_hook",
			play: func(b *bench, value string) {
				b.set("nat_icmp_send", value)
				b.serve(lb.Service{}, lb.NAT, 1)
				b.answer(1, 1, ack)
			},
			variants: []variant{
				{value: "0", shows: "the packet leaves with the real server's own address as source", want: []string{
					"s1>c1 ACK: to clients s1>c1 ACK",
				}},
				{value: "1", shows: "the real server gets ICMP \"port unreachable\", the client nothing", want: []string{
					"s1>c1 ACK: to servers director>s1 port unreachable about s1>c1",
				}},
			},
		},
		{
			name:   "ignore_tunneled",
			does:   "is to leave packets alone that came to the director inside a tunnel, against loops when it is a real server too",
			source: "ip_vs_core.c, ip_vs_in_hook; net/core/skbuff.c, skb_scrub_packet",
			cannot: "the mark that it puts on a packet (ipvs_property) is taken off by skb_scrub_packet when the packet comes out of a tunnel's device, in recent stable kernels: there the setting changes nothing, which is what is played",
			needs:  []string{"link:ipip"},
			play: func(b *bench, value string) {
				b.set("ignore_tunneled", value)
				b.serve(lb.Service{}, lb.NAT, 1)
				b.decapsulate()
				b.sendTunnelled(1, syn)
			},
			variants: []variant{
				{value: "0", shows: "the packet inside is scheduled", want: []string{"c2>vip ipip[c1>vip SYN]: to servers c1>s1 SYN"}},
				{
					value: "1", shows: "so it is",
					want:  []string{"c2>vip ipip[c1>vip SYN]: to servers c1>s1 SYN"},
					older: []string{"c2>vip ipip[c1>vip SYN]: to clients vip>c1 RST ACK"},
				},
			},
		},
		{
			name:   "cache_bypass",
			does:   "sends a packet of a firewall mark's service on to its own destination when there is no real server",
			source: "ip_vs_core.c, ip_vs_leave; ip_vs_xmit.c, ip_vs_bypass_xmit",
			needs:  []string{"tc:skbedit"},
			play: func(b *bench, value string) {
				b.set("cache_bypass", value)
				b.must(b.Mark(7))
				b.serve(lb.Service{Key: lb.MarkKey(7, lb.IPv4)}, lb.DR, 0)
				b.markedIsLocal(7)
				b.send(director.ClientWire, director.Packet{
					Protocol: lb.TCP, Src: b.client(1), Dst: b.serverEnd(9), Flags: syn,
				})
				b.entries()
			},
			variants: []variant{
				{value: "0", shows: "nothing comes of it", want: []string{
					"c1>s9 SYN: nothing",
					"entries: none",
				}},
				{value: "1", shows: "it goes to the address that the client asked for", want: []string{
					"c1>s9 SYN: to servers c1>s9 SYN",
					"entries: c1>0.0.0.0 SYN_RECV 60s",
				}},
			},
		},
		{
			name:   "backup_only",
			does:   "forwards nothing while a sync daemon runs as backup and none as master, against storms between directors that are real servers of each other",
			source: "net/ip_vs.h, sysctl_backup_only; ip_vs_core.c, ip_vs_in_hook",
			play: func(b *bench, value string) {
				b.set("backup_only", value)
				b.serve(lb.Service{}, lb.DR, 1)
				b.must(b.table.StartDaemon(b.Context(), lb.SyncDaemon{Role: lb.SyncBackup, Interface: "servers", ID: 1}))
				b.ask(1, syn)
				b.must(b.table.StopDaemon(b.Context(), lb.SyncBackup))
				b.note("without the daemon")
				b.ask(2, syn)
			},
			variants: []variant{
				{value: "0", shows: "a backup schedules like any director", want: []string{
					"c1>vip SYN: to servers c1>vip SYN",
					"without the daemon",
					"c2>vip SYN: to servers c2>vip SYN",
				}},
				{value: "1", shows: "it does not, until the daemon has stopped", want: []string{
					"c1>vip SYN: to clients vip>c1 RST ACK",
					"without the daemon",
					"c2>vip SYN: to servers c2>vip SYN",
				}},
			},
		},
	}
}

// fromVIPBy adds a rule: what has the VIP as source leaves by a link.
func (b *bench) fromVIPBy(link string) {
	b.Helper()
	b.rtnl(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		const table = 7
		all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: all, Table: table, Scope: netlink.SCOPE_LINK}); err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Family, rule.Table = netlink.FAMILY_V4, table
		rule.Src = &net.IPNet{IP: b.vip().Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
		return h.RuleAdd(rule)
	})
}

// markedIsLocal has marked packets delivered to the director, whatever their
// destination is, as transparent proxies do.
func (b *bench) markedIsLocal(mark uint32) {
	b.Helper()
	b.rtnl(func(h *netlink.Handle) error {
		const table = 8
		all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Table: table, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}); err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Family, rule.Table, rule.Mark = netlink.FAMILY_V4, table, mark
		return h.RuleAdd(rule)
	})
}

// decapsulate makes tunl0, which takes packets out of IPIP ones.
func (b *bench) decapsulate() {
	b.Helper()
	b.rtnl(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "inner"
		if err := h.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Local: b.vip().Addr().AsSlice()}); err != nil {
			return err
		}
		l, err := h.LinkByName("inner")
		if err != nil {
			return err
		}
		return h.LinkSetUp(l)
	})
	b.must(b.Set("net.ipv4.conf.inner.rp_filter", "0"))
}

// sendTunnelled sends a packet for the VIP inside an IPIP one.
func (b *bench) sendTunnelled(n int, f director.Flags) {
	b.Helper()
	inner, err := director.Packet{Protocol: lb.TCP, Src: b.client(n), Dst: b.vip(), Flags: f}.Bytes()
	b.must(err)
	outer := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolIPv4,
		SrcIP: b.client(n + 1).Addr().AsSlice(), DstIP: b.vip().Addr().AsSlice(),
	}
	b.sendRaw(director.ClientWire, b.serialize(outer, gopacket.Payload(inner)))
}

// clientUnreachable sends an ICMP error about a packet from the VIP to client n.
func (b *bench) clientUnreachable(n int) {
	b.Helper()
	about, err := director.Packet{Protocol: lb.TCP, Src: b.vip(), Dst: b.client(n), Flags: ack}.Bytes()
	b.must(err)
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4,
		SrcIP: b.client(n).Addr().AsSlice(), DstIP: b.vip().Addr().AsSlice(),
	}
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort)}
	b.sendRaw(director.ClientWire, b.serialize(ip, icmp, gopacket.Payload(about)))
}

func (b *bench) serialize(parts ...gopacket.SerializableLayer) []byte {
	b.Helper()
	buf := gopacket.NewSerializeBuffer()
	b.must(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...))
	return buf.Bytes()
}

// tracked notes what connection tracking has of the clients.
func (b *bench) tracked() {
	b.Helper()
	var flows []*netlink.ConntrackFlow
	b.must(b.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		flows, err = h.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		return err
	}))
	if len(flows) == 0 {
		b.note("tracked: none")
	}
	for _, f := range flows {
		b.note("tracked: %s>%s, answer %s>%s", b.flowEnd(f.Forward.SrcIP, f.Forward.SrcPort), b.flowEnd(f.Forward.DstIP, f.Forward.DstPort),
			b.flowEnd(f.Reverse.SrcIP, f.Reverse.SrcPort), b.flowEnd(f.Reverse.DstIP, f.Reverse.DstPort))
	}
}

func (b *bench) flowEnd(ip net.IP, port uint16) string {
	a, _ := netip.AddrFromSlice(ip)
	return b.name(netip.AddrPortFrom(a.Unmap(), port))
}
