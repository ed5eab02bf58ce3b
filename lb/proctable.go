package lb

import (
	"bufio"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ProcService is a service as /proc/net/ip_vs shows it. It lacks what the file
// does not tell: the family of a firewall mark (Key.Family is then zero, and
// the persistence mask is read as IPv4's, whatever it is), the scheduler's flags, thresholds, tunnels, statistics. Service.Timeout is zero;
// the file has it in the kernel's own ticks, of unknown length.
type ProcService struct {
	Service
	Persistent bool
	Ticks      uint64
}

// ParseProcTable reads /proc/net/ip_vs (ip_vs_info_seq_show in
// net/netfilter/ipvs/ip_vs_ctl.c). It is a third way to see a table, beside
// netlink and ipvsadm. Destinations are oldest first, as in Table.List.
func ParseProcTable(r io.Reader) ([]ProcService, Info, error) {
	var out []ProcService
	var info Info
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxProcLine)
	for n := 1; sc.Scan(); n++ {
		var err error
		switch line := sc.Text(); {
		case n == 1:
			info, err = parseProcTitle(line)
		case n <= 3: // the columns' names
		case strings.HasPrefix(line, "  -> "):
			if len(out) == 0 {
				err = fmt.Errorf("destination without a service")
				break
			}
			var d Destination
			d, err = parseProcDestination(line)
			s := &out[len(out)-1]
			s.Destinations = append(s.Destinations, d)
		default:
			var s ProcService
			s, err = parseProcService(strings.Fields(line))
			out = append(out, s)
		}
		if err != nil {
			return nil, info, fmt.Errorf("read service table: line %d: %w", n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, info, fmt.Errorf("read service table: %w", err)
	}
	for _, s := range out {
		slices.Reverse(s.Destinations)
	}
	return out, info, nil
}

func parseProcTitle(line string) (Info, error) {
	var a, b, c, size uint32
	if _, err := fmt.Sscanf(line, "IP Virtual Server version %d.%d.%d (size=%d)", &a, &b, &c, &size); err != nil {
		return Info{}, fmt.Errorf("unknown heading %.80q", line)
	}
	return Info{Version: a<<16 | b<<8 | c, ConnTableSize: size}, nil
}

func parseProcService(f []string) (s ProcService, err error) {
	if len(f) < 3 {
		return s, fmt.Errorf("too few columns")
	}
	if f[0] == "FWM" {
		mark, err := strconv.ParseUint(f[1], 16, 32)
		if err != nil {
			return s, fmt.Errorf("firewall mark: %w", err)
		}
		s.FWMark = uint32(mark)
	} else {
		p, err := parseProcProtocol(f[0])
		if err != nil {
			return s, err
		}
		ap, err := parseProcEndpoint(f[1])
		if err != nil {
			return s, err
		}
		s.Key = AddrKey(p, ap.Addr(), ap.Port())
	}
	s.Scheduler = f[2]
	rest := f[3:]
	if len(rest) > 0 && rest[0] == "ops" {
		s.Flags, rest = OnePacket, rest[1:]
	}
	if len(rest) == 3 && rest[0] == "persistent" {
		s.Persistent = true
		if s.Ticks, err = strconv.ParseUint(rest[1], 10, 64); err != nil {
			return s, fmt.Errorf("persistence: %w", err)
		}
		return s, s.setProcMask(rest[2])
	}
	if len(rest) != 0 {
		return s, fmt.Errorf("unknown columns %.80q", strings.Join(rest, " "))
	}
	return s, nil
}

// setProcMask reads a mask, or for IPv6 a prefix length whose bytes are in
// the wrong order on a little-endian machine.
func (s *ProcService) setProcMask(text string) error {
	v, err := strconv.ParseUint(text, 16, 32)
	if err != nil {
		return fmt.Errorf("persistence mask: %w", err)
	}
	n := uint32(v)
	if s.Family != IPv6 {
		s.SetMask4(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
		return nil
	}
	if n > 128 {
		n = bits.ReverseBytes32(n)
	}
	if n != uint32(s.Family.Bits()) {
		s.MaskBits = uint8(n)
	}
	return nil
}

func parseProcDestination(line string) (d Destination, err error) {
	f := strings.Fields(line)
	if len(f) != 6 {
		return d, fmt.Errorf("destination with %d columns", len(f))
	}
	ap, err := parseProcEndpoint(f[1])
	if err != nil {
		return d, err
	}
	d.DestKey = DestKey{Addr: ap.Addr(), Port: ap.Port()}
	forward := slices.Index([]string{NAT.String(), Local.String(), TUN.String(), DR.String()}, f[2])
	if forward < 0 {
		return d, fmt.Errorf("unknown forwarding method %.20q", f[2])
	}
	d.Forward = Forward(forward)
	weight, err := strconv.ParseInt(f[3], 10, 32)
	if err != nil {
		return d, fmt.Errorf("weight: %w", err)
	}
	d.Weight = int32(weight)
	for i, p := range []*uint32{&d.Counters.Active, &d.Counters.Inactive} {
		n, err := strconv.ParseUint(f[4+i], 10, 32)
		if err != nil {
			return d, fmt.Errorf("connections: %w", err)
		}
		*p = uint32(n)
	}
	return d, nil
}

func parseProcEndpoint(s string) (netip.AddrPort, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return netip.AddrPort{}, fmt.Errorf("address without a port: %.60q", s)
	}
	return parseProcAddrPort(s[:i], s[i+1:])
}

// ParseProcStats reads the totals of a namespace from /proc/net/ip_vs_stats,
// whose numbers are hexadecimal (ip_vs_stats_show).
func ParseProcStats(r io.Reader) (Counters, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxProcLine))
	if err != nil {
		return Counters{}, fmt.Errorf("read statistics: %w", err)
	}
	var rows [][5]uint64
	for line := range strings.Lines(string(b)) {
		if row, ok := hexRow(line); ok {
			rows = append(rows, row)
		}
	}
	if len(rows) != 2 {
		return Counters{}, fmt.Errorf("read statistics: %d rows of numbers, want 2", len(rows))
	}
	t, r2 := rows[0], rows[1]
	return Counters{
		Conns: t[0], InPkts: t[1], OutPkts: t[2], InBytes: t[3], OutBytes: t[4],
		CPS: r2[0], InPPS: r2[1], OutPPS: r2[2], InBPS: r2[3], OutBPS: r2[4],
	}, nil
}

// ParseProcLiveStats reads the sums over all processors of what a namespace has
// counted up to now, from /proc/net/ip_vs_stats_percpu (ip_vs_stats_percpu_show):
// the same as ParseProcStats two seconds later, unless that was set to zero.
func ParseProcLiveStats(r io.Reader) (Counters, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return Counters{}, fmt.Errorf("read live statistics: %w", err)
	}
	var c Counters
	processors := 0
	for line := range strings.Lines(string(b)) {
		processor, numbers, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := strconv.ParseUint(processor, 16, 32); err != nil {
			continue // headings, and the sum as it was last refreshed
		}
		row, ok := hexRow(numbers)
		if !ok {
			continue // rates
		}
		processors++
		c.Conns += row[0]
		c.InPkts += row[1]
		c.OutPkts += row[2]
		c.InBytes += row[3]
		c.OutBytes += row[4]
	}
	if processors == 0 {
		return Counters{}, fmt.Errorf("read live statistics: no processor in %.200q", b)
	}
	return c, nil
}

func hexRow(line string) (row [5]uint64, ok bool) {
	f := strings.Fields(line)
	if len(f) != len(row) {
		return row, false
	}
	for i, w := range f {
		n, err := strconv.ParseUint(w, 16, 64)
		if err != nil {
			return row, false
		}
		row[i] = n
	}
	return row, true
}
