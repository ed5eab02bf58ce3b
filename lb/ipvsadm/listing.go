package ipvsadm

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ipvslab/ipvslab/lb"
)

// PrintTable is the listing of a whole table (-L without a service, -S):
// services as [lb.Table.List] gives them. names is asked only unless
// f.Numeric; nil knows none.
func PrintTable(w io.Writer, info lb.Info, services []lb.Service, f Format, names Names) error {
	p := printer{Format: f, names: orNone(names)}
	p.version(info)
	if !f.NoSort {
		services = slices.Clone(services)
		mergeSort(services, make([]lb.Service, len(services)), compareServices)
	}
	p.title()
	for i := range services {
		p.service(&services[i])
		if len(p.out) < pageful {
			continue
		}
		if err := p.flush(w); err != nil {
			return err
		}
	}
	return p.flush(w)
}

// pageful is how many bytes of a table are collected before they are written:
// memory that is touched for the first time costs more than a write.
const pageful = 32 << 10

// PrintService is the listing of one service (-L with a service).
func PrintService(w io.Writer, s lb.Service, f Format, names Names) error {
	p := printer{Format: f, names: orNone(names)}
	p.title()
	p.service(&s)
	return p.flush(w)
}

// PrintVersion is the first line of a listing of services, without the rest,
// as the original leaves it when the services can't be read.
func PrintVersion(w io.Writer, info lb.Info, f Format) error {
	p := printer{Format: f}
	p.version(info)
	return p.flush(w)
}

// PrintTimeouts is what -L --timeout prints.
func PrintTimeouts(w io.Writer, t lb.Timeouts) error {
	_, err := fmt.Fprintf(w, "Timeout (tcp tcpfin udp): %d %d %d\n",
		int64(t.TCP.Seconds()), int64(t.TCPFin.Seconds()), int64(t.UDP.Seconds()))
	return err
}

// PrintDaemons is what -L --daemon prints.
func PrintDaemons(w io.Writer, daemons []lb.SyncDaemon) error {
	var p printer
	for _, d := range daemons {
		p.f("%s sync daemon (mcast=%s, syncid=%d", d.Role, d.Interface, d.ID)
		if d.MaxLen != 0 {
			p.f(", maxlen=%d", d.MaxLen)
		}
		if d.Group.IsValid() {
			p.f(", group=%s", formatAddr(d.Group))
		}
		if d.Port != 0 {
			p.f(", port=%d", d.Port)
		}
		if d.TTL != 0 {
			p.f(", ttl=%d", d.TTL)
		}
		p.f(")\n")
	}
	return p.flush(w)
}

func orNone(n Names) Names {
	if n == nil {
		return NoNames{}
	}
	return n
}

// printer collects a listing until it is flushed.
type printer struct {
	Format
	names Names
	out   []byte
	// What is printed and what sorting takes, kept from one service to the next.
	dests, spare []lb.Destination
}

func (p *printer) f(format string, args ...any) { p.out = fmt.Appendf(p.out, format, args...) }

func (p *printer) flush(w io.Writer) error {
	_, err := w.Write(p.out)
	p.out = p.out[:0]
	return err
}

func (p *printer) version(info lb.Info) {
	if !p.Rule {
		p.f("IP Virtual Server version %s (size=%d)\n", info.VersionString(), info.ConnTableSize)
	}
}

// title is the heading of the view that p.row uses.
func (p *printer) title() {
	const name, server = "Prot LocalAddress:Port", "\n  -> RemoteAddress:Port"
	numbers := func(a, b, c, d, e string) {
		p.f("%-33s %8s %8s %8s %8s %8s"+server+"\n", name, a, b, c, d, e)
	}
	switch {
	case p.Rule:
	case p.Stats:
		numbers("Conns", "InPkts", "OutPkts", "InBytes", "OutBytes")
	case p.Rate:
		numbers("CPS", "InPPS", "OutPPS", "InBPS", "OutBPS")
	case p.Thresholds:
		p.f("%-33s %-10s %-10s %-10s %-10s"+server+"\n", name, "Uthreshold", "Lthreshold", "ActiveConn", "InActConn")
	case p.PersistentConn:
		p.f("%-33s %-9s %-11s %-10s %-10s"+server+"\n", name, "Weight", "PersistConn", "ActiveConn", "InActConn")
	case p.TunInfo:
		p.f(name + " Scheduler Flags" + server + "           Forward TunnelInfo    Weight ActiveConn InActConn\n")
	default:
		p.f(name + " Scheduler Flags" + server + "           Forward Weight ActiveConn InActConn\n")
	}
}

// service prints a service and its destinations.
func (p *printer) service(s *lb.Service) {
	name := p.serviceName(s)
	c := &s.Counters
	switch {
	case p.Rule:
		p.rule(name, s)
	case p.Stats:
		p.f("%-33s", name)
		p.numbers(c.Conns, c.InPkts, c.OutPkts, c.InBytes, c.OutBytes)
	case p.Rate:
		p.f("%-33s", name)
		p.numbers(c.CPS, c.InPPS, c.OutPPS, c.InBPS, c.OutBPS)
	default:
		p.serviceLine(name, s)
	}
	p.out = append(p.out, '\n')
	p.dests = newestFirst(p.dests, s.Destinations)
	if !p.NoSort {
		p.spare = append(p.spare[:0], p.dests...)
		mergeSort(p.dests, p.spare, compareDests)
	}
	for i := range p.dests {
		p.dest(name, s, &p.dests[i])
	}
}

const maxServiceWidth, maxDestWidth = 33, 28 // IPv4; longer names are cut

func (p *printer) serviceName(s *lb.Service) string {
	if s.FWMark != 0 {
		mark := strconv.Itoa(int(int32(s.FWMark))) // printed as signed
		switch {
		case p.Rule && s.Family == lb.IPv6:
			return "-f " + mark + " -6"
		case p.Rule:
			return "-f " + mark
		case s.Family == lb.IPv6:
			return "FWM  " + mark + " IPv6"
		}
		return "FWM  " + mark
	}
	where := p.endpoint(s.Addr, s.Port, s.Protocol)
	if p.Rule {
		option := map[lb.Protocol]string{lb.TCP: "-t", lb.UDP: "-u", lb.SCTP: "--sctp-service"}[s.Protocol]
		if option == "" {
			option = "--xxx-service"
		}
		return option + " " + where
	}
	name := fmt.Sprintf("%-4s %s", protocolName(s.Protocol), where)
	if s.Family != lb.IPv6 {
		name = cut(name, maxServiceWidth)
	}
	return name
}

func protocolName(p lb.Protocol) string {
	switch p {
	case lb.TCP:
		return "TCP"
	case lb.UDP:
		return "UDP"
	case lb.SCTP:
		return "SCTP"
	}
	return "?"
}

// endpoint is an address and a port, by name unless numeric.
func (p *printer) endpoint(a netip.Addr, port uint16, proto lb.Protocol) string {
	host, service := formatAddr(a), strconv.Itoa(int(port))
	if !p.Numeric {
		if n, ok := p.names.Host(a); ok {
			host = n
		}
		if n, ok := p.names.Service(port, proto); ok {
			service = n
		}
	}
	if addrFamily(a) == lb.IPv6 {
		host = "[" + host + "]"
	}
	return cut(host+":"+service, 59) // the original's buffer
}

func (p *printer) serviceLine(name string, s *lb.Service) {
	p.f("%s %s", name, s.Scheduler)
	if s.Flags&anySchedFlag != 0 {
		p.f(" (%s)", schedFlagWords(s))
	}
	if s.Timeout > 0 {
		p.f(" persistent %d", int64(s.Timeout.Seconds()))
		p.mask(" mask ", s)
		if s.Engine != "" {
			p.f(" pe %s", s.Engine)
		}
	}
	if s.Flags&lb.OnePacket != 0 {
		p.f(" ops")
	}
}

var oneAddress = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// mask prints the persistence netmask unless it is that of one address.
func (p *printer) mask(before string, s *lb.Service) {
	switch {
	case s.Family == lb.IPv6 && s.MaskBits != 0 && s.MaskBits != 128:
		p.f("%s%d", before, s.MaskBits)
	case s.Family == lb.IPv4 && s.Mask4() != oneAddress:
		p.f("%s%s", before, s.Mask4())
	}
}

// rule prints the command that makes the service.
func (p *printer) rule(name string, s *lb.Service) {
	p.f("-A %s -s %s", name, s.Scheduler)
	if s.Timeout > 0 {
		p.f(" -p %d", int64(s.Timeout.Seconds()))
		p.mask(" -M ", s)
	}
	if s.Engine != "" {
		p.f(" --pe %s", s.Engine)
	}
	if s.Flags&lb.OnePacket != 0 {
		p.f(" -o")
	}
	if s.Flags&anySchedFlag != 0 {
		p.f(" -b %s", schedFlagWords(s))
	}
}

func (p *printer) numbers(all ...uint64) {
	for _, n := range all {
		p.number(n)
	}
}

// number is nine columns wide, or wider if exact.
func (p *printer) number(n uint64) {
	const K, M, G, T = 1e3, 1e6, 1e9, 1e12
	switch {
	case p.Exact:
		digits := strconv.FormatUint(n, 10)
		p.f("%*s", max(9, len(digits)+1), digits)
	case n < 100*M:
		p.f("%9d", n)
	case n < G:
		p.f("%8dK", n/K)
	case n < 100*G:
		p.f("%8dM", n/M)
	case n < 100*T:
		p.f("%8dG", n/G)
	default:
		p.f("%8dT", n/T)
	}
}
