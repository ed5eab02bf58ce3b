package ipvsadm

import (
	"bufio"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/ipvslab/ipvslab/lb"
)

// Names turns names into numbers, on the command line, and numbers into names,
// in listings without -n. What isn't known gives false, never an error and
// never a long wait.
type Names interface {
	Addr(host string) (netip.Addr, bool) // an IPv4 address
	Port(service string, p lb.Protocol) (uint16, bool)
	Host(a netip.Addr) (string, bool)
	Service(port uint16, p lb.Protocol) (string, bool)
}

// NoNames knows no name at all.
type NoNames struct{}

// Addr finds nothing.
func (NoNames) Addr(string) (netip.Addr, bool) { return netip.Addr{}, false }

// Port finds nothing.
func (NoNames) Port(string, lb.Protocol) (uint16, bool) { return 0, false }

// Host finds nothing.
func (NoNames) Host(netip.Addr) (string, bool) { return "", false }

// Service finds nothing.
func (NoNames) Service(uint16, lb.Protocol) (string, bool) { return "", false }

// Files knows the names in /etc/hosts and /etc/services, read at the first
// question. A lab has no DNS; where the original would ask one in vain, Files
// has its answer at once.
type Files struct {
	HostsPath, ServicesPath string // empty: the usual ones

	once     sync.Once
	err      error
	hosts    []hostLine
	services []serviceLine
}

type hostLine struct {
	addr  netip.Addr
	names []string
}

type serviceLine struct {
	port  uint16
	proto string
	names []string
}

// Err says whether a file could not be read; a missing one is no error.
func (f *Files) Err() error {
	f.load()
	return f.err
}

// Addr is the first IPv4 address that has the name.
func (f *Files) Addr(host string) (netip.Addr, bool) {
	f.load()
	for _, h := range f.hosts {
		if h.addr.Is4() && containsFold(h.names, host) {
			return h.addr, true
		}
	}
	return netip.Addr{}, false
}

// Host is the first name of the address's first line.
func (f *Files) Host(a netip.Addr) (string, bool) {
	f.load()
	for _, h := range f.hosts {
		if h.addr == a {
			return h.names[0], true
		}
	}
	return "", false
}

// Port finds a service by its name or an alias.
func (f *Files) Port(service string, p lb.Protocol) (uint16, bool) {
	f.load()
	for _, s := range f.services {
		if s.proto != p.String() {
			continue
		}
		for _, n := range s.names {
			if n == service {
				return s.port, true
			}
		}
	}
	return 0, false
}

// Service is the name of the first line with the port.
func (f *Files) Service(port uint16, p lb.Protocol) (string, bool) {
	f.load()
	for _, s := range f.services {
		if s.port == port && s.proto == p.String() {
			return s.names[0], true
		}
	}
	return "", false
}

func (f *Files) load() {
	f.once.Do(func() {
		hosts, services := f.HostsPath, f.ServicesPath
		if hosts == "" {
			hosts = "/etc/hosts"
		}
		if services == "" {
			services = "/etc/services"
		}
		f.err = errors.Join(
			eachLine(hosts, func(words []string) {
				if a, err := netip.ParseAddr(words[0]); err == nil && len(words) > 1 {
					f.hosts = append(f.hosts, hostLine{a, words[1:]})
				}
			}),
			eachLine(services, func(words []string) {
				if len(words) < 2 {
					return
				}
				number, proto, ok := strings.Cut(words[1], "/")
				if port, err := strconv.ParseUint(number, 10, 16); ok && err == nil {
					names := append([]string{words[0]}, words[2:]...)
					f.services = append(f.services, serviceLine{uint16(port), proto, names})
				}
			}))
	})
}

// eachLine hands on the words of every line that has any, without comments.
func eachLine(path string, line func(words []string)) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if words := strings.Fields(text); len(words) > 0 {
			line(words)
		}
	}
	return lines.Err()
}

func containsFold(all []string, s string) bool {
	for _, a := range all {
		if strings.EqualFold(a, s) {
			return true
		}
	}
	return false
}
