package ipvsadm

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
)

// Dialect is a way to write services down.
type Dialect string

// The dialects.
const (
	Rules      Dialect = "ipvsadm"    // a rules file for ipvsadm-restore
	Keepalived Dialect = "keepalived" // virtual_server blocks of keepalived.conf(5)
	YAML       Dialect = "yaml"       // the services of a topology file
)

// Dialects are all of them.
var Dialects = []Dialect{Rules, Keepalived, YAML}

// Loss is something that a dialect can't say.
type Loss struct {
	Service lb.Key
	Server  lb.DestKey // zero: it is about the service itself
	What    string     // such as "thresholds 10 and 5"
}

func (l Loss) String() string {
	if l.Server.Addr.IsValid() {
		return fmt.Sprintf("%s, server %s: %s", l.Service, l.Server, l.What)
	}
	return fmt.Sprintf("%s: %s", l.Service, l.What)
}

// Mark says which packets carry a firewall mark: those to an address and a
// range of ports, inclusive.
type Mark struct {
	Protocol    lb.Protocol
	Addr        netip.Addr
	First, Last uint16
}

// ExportOptions are what is known beside the table. Each function may be nil,
// and give nothing for what it doesn't know. All but Health and Marks are for YAML.
type ExportOptions struct {
	// Node names the topology's node that has a real server's address;
	// otherwise one is made up from the address.
	Node func(netip.Addr) string
	// Name is what a service is called; otherwise it is made up from its key.
	Name func(lb.Key) string
	// Directors are the nodes that carry a service; otherwise that is left open.
	Directors func(lb.Key) []string
	// Health is how a service's real servers are checked, for Keepalived.
	Health func(lb.Key) *health.Service
	// Thresholds has Rules hold them as options of -a, as ipvsadm-save does not.
	Thresholds bool
	// Marks are the packets that carry a service's firewall mark.
	Marks func(lb.Key) []Mark
}

// known asks a function that may be nil.
func known[K, V any](f func(K) V, k K) (v V) {
	if f != nil {
		v = f(k)
	}
	return v
}

// Export writes services, in the order in which they are to be added, in a
// dialect, and tells what the dialect can't hold. Reading back what was
// written gives the same services, but for that.
func Export(w io.Writer, services []lb.Service, d Dialect, opt ExportOptions) ([]Loss, error) {
	var e interface {
		service(*lb.Service)
		result() (text []byte, lost []Loss)
	}
	switch d {
	case Rules:
		e = &ruleExport{exporter{opt: opt}}
	case Keepalived:
		e = &keepalivedExport{exporter{opt: opt}}
	case YAML:
		e = newYAMLExport(opt, services)
	default:
		return nil, fmt.Errorf("export services: unknown format %q, want one of %v", d, Dialects)
	}
	for i := range services {
		e.service(&services[i])
	}
	text, lost := e.result()
	if _, err := w.Write(text); err != nil {
		return lost, fmt.Errorf("export services: %w", err)
	}
	return lost, nil
}

// exporter is what the dialects share.
type exporter struct {
	opt  ExportOptions
	out  []byte
	lost []Loss
}

func (e *exporter) f(format string, args ...any) { e.out = fmt.Appendf(e.out, format, args...) }
func (e *exporter) result() ([]byte, []Loss)     { return e.out, e.lost }

func (e *exporter) lose(s *lb.Service, d *lb.Destination, format string, args ...any) {
	l := Loss{Service: s.Key, What: fmt.Sprintf(format, args...)}
	if d != nil {
		l.Server = d.DestKey
	}
	e.lost = append(e.lost, l)
}

// loseMarks tells that the packets which carry a mark are known, but not said.
func (e *exporter) loseMarks(s *lb.Service) {
	if marks := known(e.opt.Marks, s.Key); len(marks) > 0 {
		e.lose(s, nil, "which packets get the mark")
	}
}

// flagWords are the words for a service's scheduler flags: the scheduler's own
// where it has some, else the general ones, which go with any.
func flagWords(s *lb.Service) []string { return (s.Flags & anySchedFlag).Words(s.Scheduler) }

// ruleExport writes what -S -n would, but in the order of adding.
type ruleExport struct{ exporter }

func (e *ruleExport) service(s *lb.Service) {
	e.loseMarks(s)
	p := printer{Format: Format{Numeric: true, Rule: true}}
	named := *s
	named.Flags &^= anySchedFlag
	name := p.serviceName(s)
	if s.FWMark != 0 { // -S prints large marks as negative numbers, which -f refuses
		name = fmt.Sprintf("-f %d", s.FWMark)
		if s.Family == lb.IPv6 {
			name += " -6"
		}
	}
	p.rule(name, &named)
	if words := flagWords(s); words != nil {
		p.f(" -b %s", strings.Join(words, ","))
	}
	p.out = append(p.out, '\n')
	for i := range s.Destinations {
		d := &s.Destinations[i]
		p.dest(name, s, d)
		switch {
		case d.Upper == 0 && d.Lower == 0:
		case e.opt.Thresholds:
			p.out = fmt.Appendf(p.out[:len(p.out)-1], " -x %d -y %d\n", d.Upper, d.Lower)
		default:
			e.lose(s, d, "thresholds %d and %d", d.Upper, d.Lower)
		}
	}
	e.out = append(e.out, p.out...)
}
