package connections_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lb"
)

// guePort is where the claims' GUE tunnels end (IANA's number).
const guePort = 6080

// arphrdNone is a link without a header of its own (if_arp.h).
const arphrdNone = 0xfffe

// render is a packet in an account's words, "c1>vip SYN".
func (b *bench) render(raw []byte) string {
	p := capture.Decode(capture.Frame{Data: raw, Length: len(raw)}, arphrdNone, []uint16{guePort})
	if p.Malformed != "" {
		return p.Summary()
	}
	if p.Encap == "" {
		return b.renderHeader(p, p.Header, raw)
	}
	outer := fmt.Sprintf("%s>%s", b.name(netip.AddrPortFrom(p.Src, 0)), b.name(netip.AddrPortFrom(p.Dst, 0)))
	if p.DF {
		outer += " DF"
	}
	inner := raw[max(len(raw)-p.Inner.Length, 0):]
	return fmt.Sprintf("%s %s[%s]", outer, p.Encap, b.renderHeader(p, p.Inner, inner))
}

func (b *bench) renderHeader(p capture.Packet, h capture.Header, raw []byte) string {
	text := b.name(h.Source()) + ">" + b.name(h.Destination())
	if h.Fragment > 0 || h.More {
		return fmt.Sprintf("%s fragment at %d", text, h.Fragment)
	}
	switch h.Protocol {
	case capture.ProtoTCP:
		text += " " + flagWords(h.Flags)
	case capture.ProtoUDP:
		text += " datagram"
	case capture.ProtoSCTP:
		text += " " + chunkWord(raw)
	case capture.ProtoICMP, capture.ProtoICMPv6:
		text += " " + b.renderICMP(p, h)
	case capture.ProtoIPv4:
		text += " ipip"
	default:
		text += fmt.Sprintf(" protocol %d", h.Protocol)
	}
	if h.Protocol != capture.ProtoSCTP && h.Payload > 0 && h.ICMPType == 0 {
		text += fmt.Sprintf(" %d bytes", h.Payload)
	}
	return text
}

func (b *bench) renderICMP(p capture.Packet, h capture.Header) string {
	about := fmt.Sprintf(" about %s>%s", b.name(p.Quoted.Source()), b.name(p.Quoted.Destination()))
	switch {
	case h.MTU > 0:
		return fmt.Sprintf("too big for %d%s", h.MTU, about)
	case h.Protocol == capture.ProtoICMP && h.ICMPType == 3 && h.ICMPCode == 3,
		h.Protocol == capture.ProtoICMPv6 && h.ICMPType == 1 && h.ICMPCode == 4:
		return "port unreachable" + about
	}
	return fmt.Sprintf("ICMP type %d code %d%s", h.ICMPType, h.ICMPCode, about)
}

func flagWords(f capture.Flags) string {
	var words []string
	for _, x := range []struct {
		flag capture.Flags
		word string
	}{{capture.SYN, "SYN"}, {capture.FIN, "FIN"}, {capture.RST, "RST"}, {capture.ACK, "ACK"}} {
		if f.Has(x.flag) {
			words = append(words, x.word)
		}
	}
	return strings.Join(words, " ")
}

var chunkWords = map[director.Chunk]string{
	director.Data: "DATA", director.Init: "INIT", director.InitAck: "INIT ACK", director.Abort: "ABORT",
	director.Shutdown: "SHUTDOWN", director.ShutdownAck: "SHUTDOWN ACK", director.CookieEcho: "COOKIE ECHO",
	director.CookieAck: "COOKIE ACK", director.ShutdownComplete: "SHUTDOWN COMPLETE",
}

// chunkWord names the first chunk of an SCTP packet without IP options.
func chunkWord(raw []byte) string {
	header := 20
	if len(raw) > 0 && raw[0]>>4 == 6 {
		header = 40
	}
	if len(raw) <= header+12 {
		return "sctp"
	}
	return chunkWords[director.Chunk(raw[header+12])]
}

// name is an end point's name in an account.
func (b *bench) name(at netip.AddrPort) string {
	if !at.Addr().IsValid() {
		return "?"
	}
	a, port := at.Addr(), at.Port()
	raw := a.As16()
	last := int(raw[14])<<8 | int(raw[15])
	var word string
	usual := uint16(80)
	switch {
	case a == b.vip().Addr():
		word = "vip"
	case director.VIPs.Contains(a), director.VIPs6.Contains(a):
		word = fmt.Sprintf("vip%d", raw[15])
	case director.Servers.Contains(a), director.Servers6.Contains(a):
		word = fmt.Sprintf("s%d", raw[15])
	case raw[15] == 0: // a network
		word = a.String()
	case raw[12] == 172 && raw[13] == 16 && a.Is4(), raw[0] == 0xfd && raw[1] == 0x16:
		word, usual = fmt.Sprintf("c%d", last), uint16(40000+last)
	case a.IsLinkLocalUnicast(), slices.Contains(ownAddresses["clients"], a), slices.Contains(ownAddresses["servers"], a):
		return "director"
	default:
		word = a.String()
	}
	if port == usual || port == 0 {
		return word
	}
	return fmt.Sprintf("%s:%d", word, port)
}

func (b *bench) renderEntry(c lb.Conn) string {
	if c.Template() {
		if c.Virtual.Port() == noPort { // ip_vs_check_template has unhashed it
			return fmt.Sprintf("void template %s>%s", b.name(netip.AddrPortFrom(c.Client.Addr(), 0)), b.name(netip.AddrPortFrom(c.Real.Addr(), 0)))
		}
		client := c.Client.Addr().String()
		if n := b.name(netip.AddrPortFrom(c.Client.Addr(), 0)); strings.HasPrefix(n, "c") {
			client = n
		}
		return fmt.Sprintf("template %s>%s>%s %s", client, b.name(c.Virtual), b.name(c.Real), seconds(c.Expires))
	}
	to := b.name(c.Real)
	if c.Virtual == c.Real {
		to = "itself"
	}
	return fmt.Sprintf("%s>%s %s %s", b.name(c.Client), to, c.State, seconds(c.Expires))
}

// noPort is the port of a template that is no longer valid.
const noPort = 0xffff

// timeouts are those of the kernel's tables that claims meet, in seconds
// (tcp_timeouts, tcp_timeouts_dos, udp_timeouts, sctp_timeouts), and their own.
var timeouts = []int{10, 15, 30, 63, 120, 300, 900}

// seconds is the timeout that a timer was set to a moment ago. The kernel shows
// whole seconds, rounded down, and a busy machine takes its time to read them.
func seconds(left time.Duration) string {
	s := int(left / time.Second)
	if s <= 5 {
		return "5s at most"
	}
	for _, t := range timeouts {
		if s <= t && s >= t-max(4, t/6) {
			if t == 63 { // SCTP's, which can't be told from TCP's 60
				t = 60
			}
			return fmt.Sprintf("%ds", t)
		}
	}
	return fmt.Sprintf("%ds?", s)
}
