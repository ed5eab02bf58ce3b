package ipvsadm

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
)

// endpoint is host[:port] as the options -t, -u and -r take it.
type endpoint struct {
	addr    netip.Addr
	family  lb.Family
	port    uint16
	hasPort bool
}

// parseEndpoint reads host[:port] in the original's way: an IPv6 address needs
// brackets to be followed by a port, brackets need a port, a string of digits
// is refused, and the port after a bracketed IPv4 address is lost.
func parseEndpoint(s string, p lb.Protocol, names Names) (endpoint, bool) {
	if isDigits(s) {
		return endpoint{}, false
	}
	host, port, hasPort := s, "", false
	if strings.HasPrefix(s, "[") {
		inner, rest, ok := strings.Cut(s[1:], "]")
		if !ok || !strings.HasPrefix(rest, ":") {
			return endpoint{}, false
		}
		host, port, hasPort = inner, rest[1:], true
	}
	if a, ok := parseIPv6(host); ok {
		return withPort(endpoint{addr: a, family: lb.IPv6}, port, hasPort, p, names)
	}
	hasPort = false
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host, port, hasPort = host[:i], host[i+1:], true
	}
	a, ok := parseIPv4OrName(host, names)
	if !ok {
		return endpoint{}, false
	}
	return withPort(endpoint{addr: a, family: lb.IPv4}, port, hasPort, p, names)
}

func withPort(e endpoint, port string, hasPort bool, p lb.Protocol, names Names) (endpoint, bool) {
	if !hasPort {
		return e, true
	}
	e.hasPort = true
	if n, ok := parseNumber(port, 0, math.MaxUint16); ok {
		e.port = uint16(n)
		return e, true
	}
	n, ok := names.Port(port, p)
	e.port = n
	return e, ok
}

func parseIPv4OrName(s string, names Names) (netip.Addr, bool) {
	if a, ok := parseIPv4(s); ok {
		return a, true
	}
	return names.Addr(s)
}

// parseIPv6 reads what inet_pton(AF_INET6) takes, without zones, except for
// IPv4-mapped addresses: lb holds them for IPv4, the kernel does not.
func parseIPv6(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Is6() && !a.Is4In6() && a.Zone() == ""
}

// parseIPv4 reads what inet_aton(3) of glibc takes: one to four numbers, each
// decimal, octal (0...) or hexadecimal (0x...), the last filling what is left
// of the address; anything may follow a white-space character.
func parseIPv4(s string) (netip.Addr, bool) {
	var bytes uint32 // the parts before the last
	for part := 0; ; part++ {
		n, rest, ok := leadingNumber(s)
		if !ok {
			return netip.Addr{}, false
		}
		if strings.HasPrefix(rest, ".") {
			if part > 2 || n > math.MaxUint8 {
				return netip.Addr{}, false
			}
			bytes |= uint32(n) << (24 - 8*part)
			s = rest[1:]
			continue
		}
		if rest != "" && !isSpace(rest[0]) || n > math.MaxUint32>>(8*part) {
			return netip.Addr{}, false
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], bytes|uint32(n))
		return netip.AddrFrom4(b), true
	}
}

// leadingNumber is strtoul(s, &rest, 0) for an s that begins with a digit;
// false also when the number exceeds 32 bits.
func leadingNumber(s string) (n uint64, rest string, ok bool) {
	if s == "" || !isDigit(s[0]) {
		return 0, s, false
	}
	base, digits := 10, s
	switch {
	case len(s) > 2 && (s[1] == 'x' || s[1] == 'X') && s[0] == '0' && digitValue(s[2]) < 16:
		base, digits = 16, s[2:]
	case s[0] == '0':
		base = 8
	}
	i := 0
	for i < len(digits) && digitValue(digits[i]) < base {
		i++
	}
	n, err := strconv.ParseUint(digits[:i], base, 32)
	return n, digits[i:], err == nil
}

func digitValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return math.MaxInt
}

// parseNumber is strtol(3) in base 10 over the whole string, within limits:
// white space before it and a sign are allowed.
func parseNumber(s string, low, high int64) (int64, bool) {
	digits := strings.TrimLeft(s, spaces)
	if unsigned := strings.TrimLeft(digits, "+-"); len(digits)-len(unsigned) > 1 || !isDigits(unsigned) || unsigned == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && low <= n && n <= high
}

// leadingInt is atoi(3).
func leadingInt(s string) int64 {
	s = strings.TrimLeft(s, spaces)
	end := 0
	if end < len(s) && (s[end] == '-' || s[end] == '+') {
		end++
	}
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

const spaces = " \t\n\v\f\r"

func isSpace(c byte) bool { return strings.IndexByte(spaces, c) >= 0 }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// formatAddr is inet_ntop(3) of glibc. It differs from netip in writing an
// address whose first 96 bits are zero as ::a.b.c.d.
func formatAddr(a netip.Addr) string {
	if !a.Is6() || a.Is4In6() {
		return a.String()
	}
	b := a.As16()
	for _, c := range b[:12] {
		if c != 0 {
			return a.String()
		}
	}
	if b[12] == 0 && b[13] == 0 {
		return a.String() // seven zero groups or more: the plain form
	}
	return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
}
