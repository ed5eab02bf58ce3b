package capture

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// String is a line like tcpdump's.
func (p Packet) String() string {
	var b strings.Builder
	b.WriteString(p.Time.Format("15:04:05.000000"))
	b.WriteByte(' ')
	if p.Node != "" {
		b.WriteString(p.Node + ":")
	}
	if p.Interface != "" {
		b.WriteString(p.Interface + " ")
	}
	fmt.Fprintf(&b, "%-3s %s", p.Direction, p.Summary())
	return b.String()
}

// Summary is the line without time and place.
func (p Packet) Summary() string {
	var text string
	switch {
	case p.ARP.Op != 0:
		text = p.ARP.String()
	case p.Version == 0:
		text = fmt.Sprintf("%s > %s ethertype %#04x, length %d", p.SrcMAC, p.DstMAC, p.EtherType, p.Size)
	case p.Encap != "":
		text = fmt.Sprintf("%s: %s %s", p.ends(), p.Encap, p.line(p.Inner))
	default:
		text = p.line(p.Header)
	}
	if p.Malformed != "" {
		text += " [" + p.Malformed + "]"
	}
	return text
}

// String is tcpdump's form.
func (a ARP) String() string {
	if a.Op == 2 {
		return fmt.Sprintf("ARP, Reply %s is-at %s", a.Sender, a.SenderMAC)
	}
	return fmt.Sprintf("ARP, Request who-has %s tell %s", a.Target, a.Sender)
}

// ends is a header's "IP a.port > b.port".
func (h Header) ends() string {
	word := "IP "
	if h.Version == 6 {
		word = "IP6 "
	}
	return word + end(h.Src, h.SrcPort) + " > " + end(h.Dst, h.DstPort)
}

func end(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return a.String() + "." + strconv.Itoa(int(port))
}

func (p Packet) line(h Header) string {
	if h.Version == 0 {
		return "?"
	}
	if h.Fragment > 0 {
		return fmt.Sprintf("%s: fragment at %d, length %d", h.ends(), h.Fragment, h.Payload)
	}
	switch h.Protocol {
	case ProtoTCP:
		ack := ""
		if h.Flags.Has(ACK) {
			ack = fmt.Sprintf(", ack %d", h.Ack)
		}
		return fmt.Sprintf("%s: Flags [%s], seq %d%s, win %d, length %d", h.ends(), h.Flags, h.Seq, ack, h.Window, h.Payload)
	case ProtoUDP:
		return fmt.Sprintf("%s: UDP, length %d", h.ends(), h.Payload)
	case ProtoSCTP:
		return fmt.Sprintf("%s: sctp [%s], length %d", h.ends(), h.Chunk, h.Payload)
	case ProtoICMP:
		return fmt.Sprintf("%s: ICMP %s, length %d", h.ends(), p.icmp4(h), h.Payload+8)
	case ProtoICMPv6:
		return fmt.Sprintf("%s: ICMP6, %s, length %d", h.ends(), p.icmp6(h), h.Payload+8)
	}
	return fmt.Sprintf("%s: ip-proto-%d, length %d", h.ends(), h.Protocol, h.Payload)
}

// about is what an ICMP error quotes.
func (p Packet) about() string {
	if p.Quoted.Version == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s proto %d)", p.Quoted.ends(), p.Quoted.Protocol)
}

func (p Packet) icmp4(h Header) string {
	switch h.ICMPType {
	case 0:
		return fmt.Sprintf("echo reply, id %d, seq %d", h.ID, h.Seq)
	case 8:
		return fmt.Sprintf("echo request, id %d, seq %d", h.ID, h.Seq)
	case 3:
		reason := map[uint8]string{0: "net", 1: "host", 2: "protocol", 3: "port", 13: "admin prohibited"}[h.ICMPCode]
		if h.ICMPCode == 4 {
			return fmt.Sprintf("unreachable - need to frag (mtu %d)%s", h.MTU, p.about())
		}
		if reason == "" {
			reason = "code " + strconv.Itoa(int(h.ICMPCode))
		}
		return reason + " unreachable" + p.about()
	case 5:
		return fmt.Sprintf("redirect to %s%s", h.Gateway, p.about())
	case 11:
		return "time exceeded" + p.about()
	}
	return fmt.Sprintf("type %d code %d%s", h.ICMPType, h.ICMPCode, p.about())
}

func (p Packet) icmp6(h Header) string {
	switch h.ICMPType {
	case 1:
		reason := map[uint8]string{0: "route", 1: "admin prohibited", 3: "address", 4: "port"}[h.ICMPCode]
		if reason == "" {
			reason = "code " + strconv.Itoa(int(h.ICMPCode))
		}
		return reason + " unreachable" + p.about()
	case 2:
		return fmt.Sprintf("packet too big, mtu %d%s", h.MTU, p.about())
	case 3:
		return "time exceeded" + p.about()
	case 128:
		return fmt.Sprintf("echo request, id %d, seq %d", h.ID, h.Seq)
	case 129:
		return fmt.Sprintf("echo reply, id %d, seq %d", h.ID, h.Seq)
	case 133:
		return "router solicitation"
	case 134:
		return "router advertisement"
	case 135:
		return fmt.Sprintf("neighbor solicitation, who has %s", h.Target)
	case 136:
		return fmt.Sprintf("neighbor advertisement, tgt is %s", h.Target)
	case 137:
		return fmt.Sprintf("redirect to %s", h.Target)
	}
	return fmt.Sprintf("type %d code %d%s", h.ICMPType, h.ICMPCode, p.about())
}
