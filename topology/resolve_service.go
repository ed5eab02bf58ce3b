package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

const (
	defaultScheduler   = "wlc"             // ipvsadm(8), -s
	defaultPersistence = 360 * time.Second // ipvsadm(8), -p
)

func (p *planner) resolveServices() {
	p.plan.Services = make([]Service, 0, len(p.t.Services)) // never grows: p.services points into it
	for i := range p.t.Services {
		e := &p.t.Services[i]
		path := join("services", e.Key)
		p.plan.Services = append(p.plan.Services, Service{Name: e.Key})
		s := &service{Service: &p.plan.Services[i], spec: &e.Value, path: path}
		p.services = append(p.services, s)
		p.resolveKey(s)
		p.resolveScheduling(s)
		p.resolveDirectors(s)
		p.resolveRealServers(s)
		p.resolveCheck(s)
	}
	p.checkServiceKeys()
}

func protocol(name ProtocolName) lb.Protocol {
	switch name {
	case "udp":
		return lb.UDP
	case "sctp":
		return lb.SCTP
	}
	return lb.TCP
}

// resolveKey decides what names the service: an address or a mark.
func (p *planner) resolveKey(s *service) {
	sp := s.spec
	switch {
	case p.broken(s.path + ".vip"), p.broken(s.path + ".fwmark"):
	case sp.FWMark != 0 && (sp.VIP.IsValid() || sp.Port != nil || sp.Protocol != ""):
		p.errorf(s.path, "keep fwmark (with marks) or vip, port and protocol", "a firewall mark and an address at once")
	case sp.FWMark != 0:
		p.resolveMarks(s)
	case !sp.VIP.IsValid():
		p.errorf(s.path, "say vip: ADDRESS and port: N, or fwmark: N", "the service has no VIP")
	default:
		s.Spec.Key = lb.AddrKey(protocol(sp.Protocol), sp.VIP, 0)
		s.vips = []netip.Addr{sp.VIP}
		switch {
		case sp.Port != nil:
			s.Spec.Port = *sp.Port
		case !p.broken(s.path + ".port"):
			p.errorf(s.path, "say port: 80, or port: 0 with persistence for every port", "the service has no port")
		}
		if sp.Port != nil && *sp.Port == 0 && sp.Persistence == nil && !p.broken(s.path) {
			p.errorf(s.path+".port", "add persistence, or say a port (the kernel refuses the one without the other)",
				"port 0, every port, without persistence")
		}
		if len(sp.Marks) > 0 {
			p.errorf(s.path+".marks", "allowed with fwmark", "marks on a service that is named by its address")
		}
		if f := familyOf(sp.Family); f != 0 && f != s.Spec.Family {
			p.errorf(s.path+".family", "leave it out", "the VIP %s is of another family", sp.VIP)
		}
	}
}

func (p *planner) resolveMarks(s *service) {
	family := familyOf(s.spec.Family)
	seen := map[netip.Addr]bool{}
	for i, m := range s.spec.Marks {
		path := s.path + ".marks[" + itoa(i) + "]"
		if p.broken(path) {
			continue
		}
		f := lb.FamilyOf(m.VIP)
		if family != 0 && f != family {
			p.errorf(path, "one firewall-mark service per family", "%s is of another family than the service", m.VIP)
		}
		family = cmp.Or(family, f)
		if !seen[m.VIP] {
			seen[m.VIP] = true
			s.vips = append(s.vips, m.VIP)
		}
		s.Marks = append(s.Marks, Mark{
			Protocol: protocol(m.Protocol), Addr: m.VIP, First: m.Ports.First, Last: m.Ports.Last,
		})
	}
	s.Spec.Key = lb.MarkKey(s.spec.FWMark, cmp.Or(family, lb.IPv4))
}

// flagBits are the kernel's numbers for ipvsadm's words (ip_vs.h: SH and MH
// share the scheduler-specific bits).
var flagBits = map[string]lb.Flags{"fallback": lb.Sched1, "port": lb.Sched2}

func (p *planner) resolveScheduling(s *service) {
	sp := s.spec
	s.Spec.Scheduler = cmp.Or(string(sp.Scheduler), defaultScheduler)
	for i, f := range sp.Flags {
		sched, word, _ := strings.Cut(string(f), "-")
		if sched != s.Spec.Scheduler && word != "" && !p.broken(s.path+".scheduler") {
			p.errorf(s.path+".flags["+itoa(i)+"]", "it belongs to scheduler: "+sched, "flag %s with scheduler %s", f, s.Spec.Scheduler)
		}
		s.Spec.Flags |= flagBits[word]
	}
	udp := s.Spec.Protocol == lb.UDP
	if sp.OnePacket {
		s.Spec.Flags |= lb.OnePacket
		if s.Spec.Protocol != 0 && !udp {
			p.errorf(s.path+".onePacket", "allowed with protocol: udp", "one-packet scheduling of %s", s.Spec.Protocol)
		}
	}
	if pe := sp.Persistence; pe != nil {
		p.resolvePersistence(s, pe, udp)
	}
}

func (p *planner) resolvePersistence(s *service, pe *PersistenceSpec, udp bool) {
	path := s.path + ".persistence"
	s.Spec.Timeout = cmp.Or(time.Duration(pe.Timeout), defaultPersistence)
	s.Spec.MaskBits, s.Spec.Engine = pe.Mask, string(pe.Engine)
	if s.Spec.Timeout%time.Second != 0 {
		p.errorf(path, "the kernel counts whole seconds", "found %s", s.Spec.Timeout)
	}
	if s.Spec.Family == lb.IPv4 && pe.Mask > 32 {
		p.errorf(path+".mask", "allowed: 1 to 32 for IPv4", "found %d", pe.Mask)
	}
	if pe.Engine == "sip" && !udp && s.Spec.Protocol != 0 {
		p.errorf(path+".engine", "allowed with protocol: udp", "the sip engine with %s", s.Spec.Protocol)
	}
	if s.spec.OnePacket {
		p.errorf(path, "keep one of the two", "persistence and onePacket at once")
	}
}

func (p *planner) resolveDirectors(s *service) {
	if p.broken(s.path + ".directors") {
		return
	}
	for i, name := range s.spec.Directors {
		path := indexed(s.path+".directors", s.path+".directors", i, p)
		if g := p.groupNamed(name); g != nil {
			for _, n := range g.members {
				if !slices.Contains(s.directors, n) {
					s.directors = append(s.directors, n)
				}
			}
			continue
		}
		for _, n := range p.lookup(path, name) {
			if n.Role != Director && !p.broken(n.path) {
				p.errorf(path, "give it role: director", "node %q has the role %s", n.Name, n.Role)
			}
			s.directors = append(s.directors, n)
		}
	}
	if len(s.spec.Directors) == 0 {
		for _, n := range p.nodes {
			if n.Role == Director {
				s.directors = []*node{n}
				if groups := p.groupsOf(n); len(groups) > 0 {
					s.directors = slices.Clone(groups[0].members)
				}
				break
			}
		}
		if len(s.directors) == 0 && !p.broken("nodes") {
			p.errorf(s.path, "give a node role: director", "no director to carry the service")
		}
	}
	for _, d := range s.directors {
		s.Directors = append(s.Directors, d.Name)
		d.carries = append(d.carries, s)
	}
}

// lookup finds the node of a name, or all the replicas of one.
func (p *planner) lookup(path, name string) []*node {
	if group := p.groups[name]; len(group) > 0 {
		return group
	}
	if n := p.byName[name]; n != nil {
		return []*node{n}
	}
	p.errorf(path, p.choices(name, p.t.Nodes.Keys()), "there is no node %q", name)
	return nil
}

// checkServiceKeys finds two services of one director with the same key.
func (p *planner) checkServiceKeys() {
	type at struct {
		director string
		key      lb.Key
	}
	taken := map[at]string{}
	for _, s := range p.services {
		if s.Spec.Key == (lb.Key{}) || p.broken(s.path) {
			continue
		}
		for _, d := range s.Directors {
			k := at{d, s.Spec.Key}
			if other, twice := taken[k]; twice {
				p.errorf(s.path, "", "service %q is %s on director %q already", other, s.Spec.Key, d)
			}
			taken[k] = s.Name
		}
	}
	for i, s := range p.services {
		for _, other := range p.services[:i] {
			p.checkMarked(s, other)
			p.checkMarked(other, s)
		}
	}
}

// checkMarked finds a service whose packets all carry the firewall mark of
// another: the kernel looks for marks first (ip_vs_ctl.c, ip_vs_service_find).
func (p *planner) checkMarked(s, marked *service) {
	both := slices.ContainsFunc(s.Directors, func(d string) bool { return slices.Contains(marked.Directors, d) })
	if !both || p.broken(s.path) || p.broken(marked.path) {
		return
	}
	ranges := s.Marks
	if s.Spec.FWMark == 0 && s.Spec.Port != 0 {
		ranges = []Mark{{Protocol: s.Spec.Protocol, Addr: s.Spec.Addr, First: s.Spec.Port, Last: s.Spec.Port}}
	}
	for _, r := range ranges {
		for _, m := range marked.Marks {
			if m.Protocol == r.Protocol && m.Addr == r.Addr && m.First <= r.Last && r.First <= m.Last {
				p.errorf(s.path, "keep them apart", "packets for %s %s get the firewall mark %d of service %q, which then takes them",
					r.Protocol, netip.AddrPortFrom(r.Addr, max(r.First, m.First)), marked.Spec.FWMark, marked.Name)
				return
			}
		}
	}
}
