package ipvsadm

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// ConnFile is where the kernel lists the connection entries of a namespace.
const ConnFile = "/proc/net/ip_vs_conn"

// PrintConns is what -L -c prints: the entries in the order given.
func PrintConns(w io.Writer, conns []lb.Conn, f Format, names Names) error {
	p := printer{Format: f, names: orNone(names)}
	p.f("IPVS connection entries\n")
	if f.PersistentConn {
		p.f("pro expire %-11s %-18s %-18s %-18s %-16s %s\n",
			"state", "source", "virtual", "destination", "pe name", "pe_data")
	} else {
		p.f("pro expire %-11s %-18s %-18s %s\n", "state", "source", "virtual", "destination")
	}
	for i := range conns {
		p.conn(&conns[i])
	}
	return p.flush(w)
}

func (p *printer) conn(c *lb.Conn) {
	name := func(a netip.AddrPort) string { return p.endpoint(a.Addr(), a.Port(), c.Protocol) }
	seconds := int64(c.Expires / time.Second)
	p.f("%-3s %-6s %-11s %-18s %-18s ", connProtocol(c.Protocol),
		fmt.Sprintf("%02d:%02d", seconds/60, seconds%60), c.State, name(c.Client), name(c.Virtual))
	// The original takes the first word of what the engine keeps.
	if data, _, _ := strings.Cut(c.Data, " "); p.PersistentConn && data != "" {
		p.f("%-16s %-18s %s\n", name(c.Real), c.Engine, data)
	} else {
		p.f("%s\n", name(c.Real))
	}
}

// connProtocol is the kernel's word (ip_vs_proto_name), which listings repeat.
func connProtocol(p lb.Protocol) string {
	switch p {
	case 0:
		return "IP"
	case lb.TCP, lb.UDP, lb.SCTP:
		return protocolName(p)
	case 1:
		return "ICMP"
	case 58:
		return "ICMPv6"
	}
	return fmt.Sprintf("IP_%d", p)
}
