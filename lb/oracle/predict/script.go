package predict

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// Parse reads a script. A line is one of
//
//	service tcp 10.0.0.100:80 wrr [flags sh-port,ops] [persistent 300] [mask 24]
//	service fwmark4 7 dh              (or fwmark6)
//	kernel total crossing             (see oracle.ActiveTotal, oracle.OnCrossing)
//	setting expire-quiescent-template (or expire-nodest-conn, no-conn-reuse)
//	add 10.0.1.1:80 [weight 1] [upper 0] [lower 0]
//	edit 10.0.1.1:80 weight 0
//	remove 10.0.1.1:80
//	open 192.0.2.1:4000 [via 10.0.0.101:80] [udp]
//	open x5
//	visit, ack, fin, rst, server-ack, server-fin, server-rst, activate,
//	deactivate, finish, close, expire: like open
//	service tcp 10.0.0.100:80 sed     (a second time: an edit of the service)
//	remove-service                    (a service line after it adds it again)
//
// and "#" begins a comment. An edit sets all three numbers, as the kernel's
// does. The errors of all lines are joined, each with its line's number.
func Parse(r io.Reader) (Input, error) { return ParseFor(Input{}, r) }

// ParseFor is Parse for a script that goes on from a start. If that has a
// service, any service line is an edit of it.
func ParseFor(in Input, r io.Reader) (Input, error) {
	var errs []error
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if err := in.line(words); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
	}
	errs = append(errs, lines.Err())
	if in.Service.Scheduler == "" && errors.Join(errs...) == nil {
		errs = append(errs, errors.New(`no service: begin with a line such as "service tcp 10.0.0.100:80 wrr"`))
	}
	return in, errors.Join(errs...)
}

func (in *Input) line(words []string) error {
	switch words[0] {
	case "service":
		return in.service(words[1:])
	case "remove-service":
		if len(words) > 1 {
			return fmt.Errorf("%q takes no words after it", words[0])
		}
		in.Events = append(in.Events, Event{Verb: RemoveService})
		return nil
	case "kernel":
		return parseKernel(words[1:], &in.Variant)
	case "setting":
		return parseSettings(words[1:], &in.Variant.Settings)
	}
	e := Event{Verb: Verb(words[0])}
	if len(words) == 1 && e.Verb != Open && e.Verb != Visit {
		return fmt.Errorf("%q is not a whole line; see the help for the form", words[0])
	}
	var err error
	switch e.Verb {
	case Add, Edit, Remove:
		e.Dest, err = parseDest(words[1:])
	case Open, Visit, ACK, FIN, RST, ServerACK, ServerFIN, ServerRST, Activate, Deactivate, Finish, Close, Expire:
		err = parseConn(words[1:], &e)
	default:
		return fmt.Errorf("unknown word %q; allowed are service, remove-service, kernel, setting, add, edit, remove, open, visit, "+
			"ack, fin, rst, server-ack, server-fin, server-rst, activate, deactivate, finish, close, expire", words[0])
	}
	in.Events = append(in.Events, e)
	return err
}

// service reads the first service line, or a later one, which is an event.
func (in *Input) service(words []string) error {
	if in.Service.Scheduler == "" {
		return parseService(words, &in.Service)
	}
	e := Event{Verb: EditService}
	if err := parseService(words, &e.Service); err != nil {
		return err
	}
	if e.Service.Key != in.Service.Key {
		return fmt.Errorf("a script has one service, here %v; it can't have %v as well", in.Service.Key, e.Service.Key)
	}
	in.Events = append(in.Events, e)
	return nil
}

var flagNames = []struct {
	name string
	flag lb.Flags
}{
	{"ops", lb.OnePacket},
	{"sh-fallback", lb.Sched1},
	{"mh-fallback", lb.Sched1},
	{"sh-port", lb.Sched2},
	{"mh-port", lb.Sched2},
}

func parseService(words []string, s *lb.Service) error {
	if len(words) < 3 {
		return errors.New(`a service is written like "service tcp 10.0.0.100:80 wrr"`)
	}
	switch words[0] {
	case "tcp", "udp", "sctp":
		at, err := netip.ParseAddrPort(words[1])
		if err != nil {
			return fmt.Errorf("service: %w", err)
		}
		protocol := map[string]lb.Protocol{"tcp": lb.TCP, "udp": lb.UDP, "sctp": lb.SCTP}[words[0]]
		s.Key = lb.AddrKey(protocol, at.Addr(), at.Port())
	case "fwmark4", "fwmark6":
		mark, err := strconv.ParseUint(words[1], 0, 32)
		if err != nil || mark == 0 {
			return fmt.Errorf("firewall mark %q is not a number above 0", words[1])
		}
		family := map[string]lb.Family{"fwmark4": lb.IPv4, "fwmark6": lb.IPv6}[words[0]]
		s.Key = lb.MarkKey(uint32(mark), family)
	default:
		return fmt.Errorf("unknown protocol %q; allowed are tcp, udp, sctp, fwmark4, fwmark6", words[0])
	}
	s.Scheduler = words[2]
	if !slices.Contains(oracle.Schedulers(), s.Scheduler) {
		return fmt.Errorf("unknown scheduler %q; allowed are %s", s.Scheduler, strings.Join(oracle.Schedulers(), ", "))
	}
	return pairs(words[3:], map[string]func(string) error{
		"flags": func(v string) error { return parseFlags(v, s) },
		"persistent": func(v string) error {
			n, err := strconv.ParseUint(v, 10, 31)
			s.Timeout = time.Duration(n) * time.Second
			return err
		},
		"mask": func(v string) error {
			n, err := strconv.ParseUint(v, 10, 8)
			s.MaskBits = uint8(n)
			return err
		},
	})
}

func parseFlags(v string, s *lb.Service) error {
next:
	for _, name := range strings.Split(v, ",") {
		for _, f := range flagNames {
			if f.name == name {
				s.Flags |= f.flag
				continue next
			}
		}
		return fmt.Errorf("unknown flag %q; allowed are ops, sh-fallback, sh-port, mh-fallback, mh-port", name)
	}
	return nil
}

func parseKernel(words []string, v *oracle.Variant) error {
next:
	for _, word := range words {
		for _, w := range kernelWords {
			if w.word == word {
				v.Overhead, v.Overload = cmp.Or(w.overhead, v.Overhead), cmp.Or(w.overload, v.Overload)
				continue next
			}
		}
		return fmt.Errorf("unknown kernel rule %q; allowed are inactive, total; bind, crossing", word)
	}
	return nil
}

func parseSettings(words []string, s *oracle.Settings) error {
	for _, w := range words {
		switch w {
		case "expire-quiescent-template":
			s.ExpireQuiescentTemplate = true
		case "expire-nodest-conn":
			s.ExpireNodestConn = true
		case "no-conn-reuse":
			s.NoConnReuse = true
		default:
			return fmt.Errorf("unknown setting %q; allowed are expire-quiescent-template, expire-nodest-conn, no-conn-reuse", w)
		}
	}
	return nil
}

func parseDest(words []string) (lb.Destination, error) {
	d := lb.Destination{Weight: 1}
	at, err := netip.ParseAddrPort(words[0])
	if err != nil {
		return d, fmt.Errorf("destination: %w", err)
	}
	d.DestKey = lb.DestKey{Addr: at.Addr().Unmap(), Port: at.Port()}
	number := func(to *uint32) func(string) error {
		return func(v string) error {
			n, err := strconv.ParseUint(v, 10, 32)
			*to = uint32(n)
			return err
		}
	}
	return d, pairs(words[1:], map[string]func(string) error{
		"weight": func(v string) error {
			n, err := strconv.ParseInt(v, 10, 32)
			d.Weight = int32(n)
			return err
		},
		"upper": number(&d.Upper),
		"lower": number(&d.Lower),
	})
}

func parseConn(words []string, e *Event) (err error) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		times, isTimes := strings.CutPrefix(w, "x")
		switch {
		case isTimes:
			if e.Times, err = strconv.Atoi(times); err != nil || e.Times < 1 || e.Verb != Open && e.Verb != Visit {
				return fmt.Errorf("%q: only open and visit are repeated, as in \"open x5\"", w)
			}
		case w == "tcp", w == "udp", w == "sctp":
			e.Conn.Protocol = map[string]lb.Protocol{"tcp": lb.TCP, "udp": lb.UDP, "sctp": lb.SCTP}[w]
		case w == "via" && i+1 < len(words):
			i++
			if e.Conn.Virtual, err = netip.ParseAddrPort(words[i]); err != nil {
				return fmt.Errorf("virtual address: %w", err)
			}
		default:
			if e.Conn.Client, err = netip.ParseAddrPort(w); err != nil {
				return fmt.Errorf("client: %w", err)
			}
		}
	}
	if e.Times > 1 && e.Conn.Client.IsValid() {
		return errors.New("one client opens one connection: give either a client or a number of them")
	}
	return nil
}

// pairs reads "name value" words.
func pairs(words []string, known map[string]func(string) error) error {
	for ; len(words) > 0; words = words[2:] {
		set, ok := known[words[0]]
		if !ok {
			var names []string
			for n := range known {
				names = append(names, n)
			}
			slices.Sort(names)
			return fmt.Errorf("unknown word %q; allowed are %s", words[0], strings.Join(names, ", "))
		}
		if len(words) < 2 {
			return fmt.Errorf("%s: its value is missing", words[0])
		}
		if err := set(words[1]); err != nil {
			return fmt.Errorf("%s: %w", words[0], err)
		}
	}
	return nil
}
