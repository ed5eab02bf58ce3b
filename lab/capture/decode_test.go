package capture

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	ethernet4 = &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4,
	}
	ethernet6 = &layers.Ethernet{SrcMAC: ethernet4.SrcMAC, DstMAC: ethernet4.DstMAC, EthernetType: layers.EthernetTypeIPv6}
	etherARP  = &layers.Ethernet{SrcMAC: ethernet4.SrcMAC, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP}
)

func ip4(src, dst string, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TTL: 64, Id: 7, Flags: layers.IPv4DontFragment, Protocol: p,
		SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst),
	}
}

func ip6(src, dst string, p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func tcp(n gopacket.NetworkLayer, from, to uint16, set func(*layers.TCP)) *layers.TCP {
	t := &layers.TCP{SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), Seq: 1000, Window: 64240}
	set(t)
	_ = t.SetNetworkLayerForChecksum(n)
	return t
}

func syn(t *layers.TCP) { t.SYN = true }

func udp(n gopacket.NetworkLayer, from, to uint16) *layers.UDP {
	u := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	_ = u.SetNetworkLayerForChecksum(n)
	return u
}

func frame(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

type sample struct {
	name     string
	linkType uint16
	data     []byte
}

func samples(t *testing.T) []sample {
	v4 := ip4("192.168.1.10", "192.168.1.117", layers.IPProtocolTCP)
	v6 := ip6("fd00::10", "fd00::117", layers.IPProtocolTCP)
	u4 := ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP)
	tun := ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolIPv4)
	body := gopacket.Payload("hello")
	synFrame := frame(t, ethernet4, v4, tcp(v4, 40000, 80, syn))
	icmp6 := func(typ, code uint8) *layers.ICMPv6 {
		i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
		_ = i.SetNetworkLayerForChecksum(ip6("fd00::1", "fd00::10", layers.IPProtocolICMPv6))
		return i
	}
	icmp4 := func(typ, code uint8, mtu uint16) *layers.ICMPv4 {
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Seq: mtu}
	}
	frag := ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP)
	frag.Flags, frag.FragOffset = 0, 185
	const eth = unix.ARPHRD_ETHER
	return []sample{
		{"syn", eth, synFrame},
		{"data", eth, frame(t, ethernet4, v4, tcp(v4, 40000, 80, func(x *layers.TCP) { x.PSH, x.ACK, x.Ack = true, true, 77 }), body)},
		{"reset", eth, frame(t, ethernet4, v4, tcp(v4, 80, 40000, func(x *layers.TCP) { x.RST = true }))},
		{"syn6", eth, frame(t, ethernet6, v6, tcp(v6, 40000, 80, syn))},
		{"udp", eth, frame(t, ethernet4, u4, udp(u4, 5353, 53), body)},
		{"ipip", eth, frame(t, ethernet4, tun, v4, tcp(v4, 40000, 80, syn))},
		{"ip6 in ip4", eth, frame(t, ethernet4, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolIPv6), v6, tcp(v6, 40000, 80, syn))},
		{"ipip on tunl0", unix.ARPHRD_TUNNEL, synFrame[14:]},
		{"gre", eth, frame(t, ethernet4, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolGRE),
			&layers.GRE{Protocol: layers.EthernetTypeIPv4}, v4, tcp(v4, 40000, 80, syn))},
		{"gue", eth, frame(t, ethernet4, u4, udp(u4, 33000, 6080), gopacket.Payload(append([]byte{0, 4, 0, 0}, synFrame[14:]...)))},
		{"gue direct", eth, frame(t, ethernet4, u4, udp(u4, 33000, 6080), gopacket.Payload(synFrame[14:]))},
		{"frag needed", eth, frame(t, ethernet4, ip4("192.168.1.117", "192.168.1.10", layers.IPProtocolICMPv4),
			icmp4(3, 4, 1480), gopacket.Payload(synFrame[14:14+28]))},
		{"port unreachable", eth, frame(t, ethernet4, ip4("192.168.1.117", "192.168.1.10", layers.IPProtocolICMPv4),
			icmp4(3, 3, 0), gopacket.Payload(synFrame[14:14+28]))},
		{"redirect", eth, frame(t, ethernet4, ip4("192.168.1.1", "192.168.1.10", layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(5, 1), Id: 0xc0a8, Seq: 0x0102}, gopacket.Payload(synFrame[14:14+28]))},
		{"echo", eth, frame(t, ethernet4, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 9, Seq: 2}, body)},
		{"packet too big", eth, frame(t, ethernet6, ip6("fd00::1", "fd00::10", layers.IPProtocolICMPv6), icmp6(2, 0),
			gopacket.Payload(append([]byte{0, 0, 5, 180}, frame(t, v6, tcp(v6, 40000, 80, syn))...)))},
		{"neighbour", eth, frame(t, ethernet6, ip6("fd00::1", "fd00::10", layers.IPProtocolICMPv6), icmp6(135, 0),
			gopacket.Payload(append([]byte{0, 0, 0, 0}, net.ParseIP("fd00::117").To16()...)))},
		{"arp request", eth, frame(t, etherARP, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: ethernet4.SrcMAC, SourceProtAddress: []byte{10, 0, 0, 1}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 0, 0, 9},
		})},
		{"arp reply", eth, frame(t, etherARP, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 2,
			SourceHwAddress: ethernet4.SrcMAC, SourceProtAddress: []byte{10, 0, 0, 9}, DstHwAddress: ethernet4.DstMAC, DstProtAddress: []byte{10, 0, 0, 1},
		})},
		{"sctp init", eth, frame(t, ethernet4, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolSCTP),
			&layers.SCTP{SrcPort: 40000, DstPort: 9}, &layers.SCTPInit{SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeInit}, InitiateTag: 7})},
		{"fragment", eth, frame(t, ethernet4, frag, body)},
		{"cut in the tcp header", eth, synFrame[:14+20+6]},
		{"cut in the ip header", eth, synFrame[:14+9]},
		{"empty", eth, nil},
	}
}

func TestDecodeGolden(t *testing.T) {
	var got bytes.Buffer
	for _, s := range samples(t) {
		p := Decode(Frame{Time: time.Unix(0, 0).UTC(), Direction: In, Data: s.data, Length: len(s.data)}, s.linkType, []uint16{6080})
		p.Node, p.Interface = "client", "eth0"
		fmt.Fprintf(&got, "# %s\n%s\n%+v\n", s.name, p, p.Innermost())
	}
	const path = "testdata/decode.golden"
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("decoding (-want +got):\n%s", diff)
	}
}

func TestPacketsAreComparable(t *testing.T) {
	s := samples(t)[0]
	f := Frame{Time: time.Unix(1, 0), Data: s.data, Length: len(s.data)}
	if first, second := Decode(f, s.linkType, nil), Decode(f, s.linkType, nil); first != second {
		t.Error("the same frame decoded twice differs")
	}
	p := Decode(f, s.linkType, nil)
	if !p.IsSYN() || p.Source() != netip.MustParseAddrPort("192.168.1.10:40000") {
		t.Errorf("not the SYN it is: %s", p)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45"), uint16(1))
	f.Fuzz(func(_ *testing.T, data []byte, linkType uint16) {
		_ = Decode(Frame{Data: data, Length: len(data)}, linkType, []uint16{6080}).String()
	})
}
