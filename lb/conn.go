package lb

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Conn is an entry of a director's connection table.
type Conn struct {
	Protocol Protocol // zero for a template of a firewall mark
	Client   netip.AddrPort
	Virtual  netip.AddrPort // of a firewall mark's template: the mark as an IPv4 address
	Real     netip.AddrPort
	State    string        // as the kernel names it, such as ESTABLISHED; of a template NONE or ASSURED
	Expires  time.Duration // until the timer runs out; whole seconds
	Engine   string        // persistence engine, such as sip, and
	Data     string        // what it keeps of the connection
	Origin   string        // LOCAL or SYNC; from ip_vs_conn_sync only
}

// Template tells whether the entry is no connection but a client's persistence
// (ip_vs_sched_persist). The kernel doesn't say so outright: only a template
// has no client port, unless a persistence engine made it.
func (c Conn) Template() bool {
	return (c.State == "NONE" || c.State == "ASSURED") && (c.Client.Port() == 0 || c.Engine != "")
}

// String is the entry as `ipvsadm -Lnc` lists it, without its columns.
func (c Conn) String() string {
	s := int(c.Expires / time.Second)
	return fmt.Sprintf("%s %02d:%02d %s %s %s %s", c.Protocol, s/60, s%60, c.State, c.Client, c.Virtual, c.Real)
}

const (
	connColumns = 9 // before the engine's
	maxProcLine = 64 << 10
)

// ParseConns reads /proc/net/ip_vs_conn or /proc/net/ip_vs_conn_sync
// (ip_vs_conn_seq_show, ip_vs_conn_sync_seq_show in
// net/netfilter/ipvs/ip_vs_conn.c). The order is the kernel's, which is random.
func ParseConns(r io.Reader) ([]Conn, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxProcLine)
	if !sc.Scan() {
		if err := sc.Err(); err != nil {
			return nil, fmt.Errorf("read connection table: %w", err)
		}
		return nil, fmt.Errorf("read connection table: %w", io.ErrUnexpectedEOF)
	}
	if !strings.HasPrefix(sc.Text(), "Pro FromIP") {
		return nil, fmt.Errorf("read connection table: unknown heading %.80q", sc.Text())
	}
	sync := strings.Contains(sc.Text(), "Origin")
	var out []Conn
	for sc.Scan() {
		c, err := parseConn(sc.Text(), sync)
		if err != nil {
			return nil, fmt.Errorf("read connection table: entry %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read connection table: %w", err)
	}
	return out, nil
}

func parseConn(line string, sync bool) (c Conn, err error) {
	f, rest := columns(line, connColumns)
	if sync {
		f, rest = columns(line, connColumns+1)
	}
	if f == nil {
		return c, fmt.Errorf("%.80q: too few columns", line)
	}
	if c.Protocol, err = parseProcProtocol(f[0]); err != nil {
		return c, err
	}
	for i, ap := range []*netip.AddrPort{&c.Client, &c.Virtual, &c.Real} {
		if *ap, err = parseProcAddrPort(f[1+2*i], f[2+2*i]); err != nil {
			return c, err
		}
	}
	c.State = f[7]
	expires := f[8]
	if sync {
		c.Origin, expires = f[8], f[9]
	}
	seconds, err := strconv.ParseUint(expires, 10, 32)
	if err != nil {
		return c, fmt.Errorf("timer: %w", err)
	}
	c.Expires = time.Duration(seconds) * time.Second
	if engine, data, ok := strings.Cut(strings.TrimPrefix(rest, " "), " "); ok {
		c.Engine, c.Data = engine, data
	}
	return c, nil
}

// columns cuts n words off a line; nil if there are fewer.
func columns(line string, n int) (words []string, rest string) {
	rest = line
	for range n {
		rest = strings.TrimLeft(rest, " ")
		end := strings.IndexByte(rest, ' ')
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, ""
		}
		words, rest = append(words, rest[:end]), rest[end:]
	}
	return words, rest
}

// parseProcProtocol reads ip_vs_proto_name's word.
func parseProcProtocol(s string) (Protocol, error) {
	switch s {
	case "IP":
		return 0, nil
	case "TCP":
		return TCP, nil
	case "UDP":
		return UDP, nil
	case "SCTP":
		return SCTP, nil
	case "ICMP":
		return 1, nil
	case "ICMPv6":
		return 58, nil
	}
	if number, ok := strings.CutPrefix(s, "IP_"); ok {
		if n, err := strconv.ParseUint(number, 10, 8); err == nil {
			return Protocol(n), nil
		}
	}
	return 0, fmt.Errorf("unknown protocol %.20q", s)
}

// parseProcAddrPort reads an IPv4 address as 8 hexadecimal digits or an IPv6
// address in full, and a port as 4 hexadecimal digits.
func parseProcAddrPort(addr, port string) (netip.AddrPort, error) {
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port: %w", err)
	}
	a, err := parseProcAddr(addr)
	return netip.AddrPortFrom(a, uint16(p)), err
}

func parseProcAddr(s string) (netip.Addr, error) {
	if len(s) == 8 {
		n, err := strconv.ParseUint(s, 16, 32)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("address: %w", err)
		}
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), nil
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil || !a.Is6() {
		return netip.Addr{}, fmt.Errorf("unknown address %.60q", s)
	}
	return a, nil
}
