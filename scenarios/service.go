package scenarios

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// service is a virtual service as the specs visit it.
type service struct {
	topology.Service
	st       *stage
	director string         // that has the VIP; others hold the table only
	from     string         // the client's node; empty: nobody can visit it
	to       netip.AddrPort // where the client goes
	protocol string         // what the client speaks: traffic.HTTP, TCP, UDP or SCTP
	// anonymous: the user's own programs answer, and don't name themselves. The
	// handshake is the answer then, and client and servers are no witnesses.
	anonymous bool
	names     []string  // who answers, by index of the destination
	conf      confTimes // of the user's keepalived.conf, if it runs as it is
	confErr   error     // it can't be read
	touched   bool      // visited by a spec before: the statistics may lag behind

	// counted are the connections, by name, that the statistics must hold; nil: unknown.
	counted map[string]int
	// liveBefore and liveAfter are the director's live count of connections
	// before those and after.
	liveBefore, liveAfter uint64
}

func newService(st *stage, p topology.Service) *service {
	s := &service{Service: p, st: st, names: slices.Clone(p.RealServers)}
	if len(p.Directors) > 0 {
		s.director = p.Directors[0] // see topology's placeVIPs
	}
	s.to = s.address()
	if !s.to.IsValid() || s.to.Port() == 0 {
		return s
	}
	s.speak()
	for _, n := range st.plan.Nodes {
		if n.Role == topology.Client && s.protocol != "" && hasFamily(&n, s.Spec.Family) {
			s.from = n.Name
			break
		}
	}
	return s
}

func hasFamily(n *topology.Node, f lb.Family) bool {
	return slices.ContainsFunc(addrsOf(n), func(a netip.Addr) bool { return lb.FamilyOf(a) == f })
}

// transport is the protocol of the packets that the service takes.
func (s *service) transport() lb.Protocol {
	if s.Spec.Protocol == 0 && len(s.Marks) > 0 {
		return s.Marks[0].Protocol
	}
	return s.Spec.Protocol
}

// connects tells whether the service's connections have a beginning and an end
// that the director sees, and can be held open.
func (s *service) connects() bool { return s.transport() == lb.TCP || s.transport() == lb.SCTP }

// address is where a client finds the service. A service of every port is
// visited where its first real server listens.
func (s *service) address() netip.AddrPort {
	if s.Spec.FWMark != 0 {
		if len(s.Marks) == 0 {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(s.Marks[0].Addr, s.Marks[0].First)
	}
	port := s.Spec.Port
	if n := s.st.plannedNode(first(s.RealServers)); port == 0 && n != nil && len(n.Responders) > 0 {
		port = n.Responders[0].Port
	}
	return netip.AddrPortFrom(s.Spec.Addr, port)
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// speak finds out what the real servers speak and how they call themselves.
// UDP to a server of the user's own can't be visited: it may never answer.
func (s *service) speak() {
	spoken := map[string]bool{}
	for i := range s.Spec.Destinations {
		r := s.responder(i)
		if r == nil {
			s.anonymous = true
			continue
		}
		s.names[i] = r.Identity
		spoken[r.Protocol] = true
	}
	s.anonymous = s.anonymous || len(spoken) > 1
	switch {
	case s.anonymous && s.transport() == lb.TCP:
		s.protocol = traffic.TCP
	case s.anonymous && s.transport() == lb.SCTP:
		s.protocol = traffic.SCTP
	case !s.anonymous:
		for p := range spoken {
			s.protocol = p
		}
	}
}

// responder finds the built-in server behind a destination.
func (s *service) responder(i int) *topology.Responder {
	n := s.st.plannedNode(s.RealServers[i])
	if n == nil {
		return nil
	}
	d := s.Spec.Destinations[i]
	at := s.to.Addr()
	if d.Forward == lb.NAT || d.Forward == lb.Local {
		at = d.Addr
	}
	for j := range n.Responders {
		r := &n.Responders[j]
		if r.Transport() == s.transport() && r.Port == s.realPort(i, s.to.Port()) &&
			(len(r.Addrs) == 0 || slices.Contains(r.Addrs, at)) {
			return r
		}
	}
	return nil
}

// realPort is the port that a packet for the given port of the service has
// when it reaches destination i.
func (s *service) realPort(i int, port uint16) uint16 {
	if d := s.Spec.Destinations[i]; d.Forward == lb.NAT && d.Port != 0 {
		return d.Port
	}
	return port
}

// serves tells whether a connection entry is of this service. Those of the
// director's own checks, which go to the VIP as well, are not.
func (s *service) serves(c lb.Conn) bool {
	if s.watched() && slices.Contains(addrsOf(s.st.plannedNode(s.director)), c.Client.Addr()) {
		return false
	}
	if s.Spec.FWMark == 0 {
		return c.Protocol == s.Spec.Protocol && c.Virtual.Addr() == s.Spec.Addr &&
			(s.Spec.Port == 0 || c.Virtual.Port() == s.Spec.Port || c.Virtual.Port() == 0)
	}
	if c.Template() {
		return c.Virtual.Addr() == markAddr(s.Spec.FWMark, s.Spec.Family)
	}
	for _, m := range s.Marks {
		if c.Protocol == m.Protocol && c.Virtual.Addr() == m.Addr && c.Virtual.Port() >= m.First && c.Virtual.Port() <= m.Last {
			return true
		}
	}
	return false
}

// markAddr is how the kernel writes a firewall mark as an address
// (ip_vs_sched_persist).
func markAddr(mark uint32, f lb.Family) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint32(b[:], mark)
	if f == lb.IPv6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

// index finds the destination behind a connection entry; -1: none.
func (s *service) index(real netip.AddrPort) int {
	return slices.IndexFunc(s.Spec.Destinations, func(d lb.Destination) bool {
		return d.Addr == real.Addr() && (d.Port == 0 || d.Port == real.Port())
	})
}

// label names a destination: as it answers, if no other answers alike.
func (s *service) label(i int) string {
	for j, n := range s.names {
		if j != i && n == s.names[i] {
			return fmt.Sprintf("%s@%s", n, s.Spec.Destinations[i].DestKey)
		}
	}
	return s.names[i]
}

// labelOf names the destination that a client says has answered it.
func (s *service) labelOf(identity string) string {
	if i := slices.Index(s.names, identity); i >= 0 {
		return s.label(i)
	}
	return identity
}

// expectedOf is what the file's own scenarios expect of visits to the service:
// the outcome, if it is not an answer.
func (s *service) expectedOf() string {
	for _, own := range s.st.plan.Scenarios {
		if own.Service == s.Name && own.Expect.Outcome != string(traffic.Answered) {
			return own.Expect.Outcome
		}
	}
	return ""
}

// unvisited is why no connection is tried but those of the file's own
// scenarios, or "" if the reason is theirs or there is none.
func (s *service) unvisited() string {
	switch {
	case s.visitable() || s.expectedOf() != "":
		return ""
	case !s.to.IsValid() || s.to.Port() == 0:
		return "no address and port of it is known; say marks:, or what its real servers serve"
	case s.usable() == 0:
		return "no real server takes connections"
	case s.protocol == "":
		return "programs of your own that speak udp may never answer"
	default:
		return fmt.Sprintf("there is no client with an IPv%d address", s.Spec.Family)
	}
}

// predictable tells whether there is a model that says where each connection goes.
func (s *service) predictable() bool { return modelled(s.Spec.Scheduler) }
