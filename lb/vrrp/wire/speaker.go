package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lb/vrrp"
	"golang.org/x/sys/unix"
)

// Report is something that a Speaker tells its owner.
type Report struct {
	Time  time.Time
	Group string
	// From and To differ if the group's state has changed.
	From, To vrrp.State
	Text     string // why, or what
	Err      error  // it did not work
}

// Speaker takes part in VRRP for some groups in one namespace.
type Speaker struct {
	ns      *netns.NS
	report  func(Report)
	groups  []*speaking
	links   map[string]*link
	addrs   addresses
	packets *announcer
	monitor *monitor
	wake    int // an eventfd: Run is to look at its context and its requests

	requests chan func()   // for Run's thread, with mu held
	ended    chan struct{} // closed when Run has ended

	mu     sync.Mutex // held by Run while it works, and by Status
	checks sync.WaitGroup
}

// speaking is a group with its wires.
type speaking struct {
	Group   // the routers' Addr are what advertisements come from
	told    Group
	fsm     *vrrp.Group
	since   time.Time
	moves   int        // of the addresses
	routers []*routing // parallel to Group.Routers

	// Until it is in force: the group that it goes on from, and for each router
	// its index there, or -1.
	before *speaking
	from   []int
}

// routing is a virtual router with its socket.
type routing struct {
	*Router
	link    *link
	sock    *socket
	header  *socket // version 2: hears those who speak with an authentication header
	counts  Counts
	refused string // the latest packet's fault, to be told once
	failing bool   // sending fails: that has been told
}

// New opens the sockets for the groups; Close it, or Run it to its end. Report
// is called from Run's threads and must return at once.
func New(ns *netns.NS, groups []Group, report func(Report)) (_ *Speaker, err error) {
	s := &Speaker{ns: ns, report: report, wake: -1, requests: make(chan func(), 1), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("begin VRRP: %w", err), s.Close())
		}
	}()
	if err := s.findLinks(groups); err != nil {
		return nil, err
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, err
	}
	if s.addrs.conn, err = rtnl.DialIn(ns); err != nil {
		return nil, err
	}
	s.addrs.ns = ns
	err = ns.Do(func() (err error) {
		if s.packets, err = openAnnouncer(); err != nil {
			return err
		}
		s.monitor, err = openMonitor(unix.RTMGRP_LINK)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range groups {
		if err := s.add(groups[i]); err != nil {
			return nil, fmt.Errorf("failover group %s: %w", groups[i].Name, err)
		}
	}
	return s, nil
}

func (s *Speaker) findLinks(groups []Group) (err error) {
	var names []string
	for _, g := range groups {
		if err := g.Validate(); err != nil {
			return err
		}
		for _, r := range g.Routers {
			names = append(names, r.Interface)
		}
	}
	s.links, err = findLinks(s.ns, names)
	return err
}

// add opens the sockets of one group.
func (s *Speaker) add(g Group) error {
	sp := newSpeaking(g, s.links)
	s.groups = append(s.groups, sp)
	for _, r := range sp.routers {
		if err := r.resolve(s.ns); err != nil {
			return err
		}
		if _, err := r.open(s.ns, g.Version); err != nil {
			return err
		}
	}
	fsm, err := vrrp.NewGroup(sp.config())
	sp.fsm = fsm
	return err
}

// newSpeaking is a group without sockets.
func newSpeaking(g Group, links map[string]*link) *speaking {
	sp := &speaking{Group: g, told: g, since: time.Now()}
	sp.Routers = slices.Clone(g.Routers)
	for i := range sp.Routers {
		r := &sp.Routers[i]
		sp.routers = append(sp.routers, &routing{Router: r, link: links[r.Interface]})
	}
	return sp
}

// resolve finds the address that advertisements come from.
func (r *routing) resolve(ns *netns.NS) error {
	if r.Addr.Is4() || len(r.Peers) > 0 {
		return nil
	}
	local, err := awaitLinkLocal(ns, r.link.index)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Interface, err)
	}
	r.Addr = local
	return nil
}

// open opens the sockets that it lacks.
func (r *routing) open(ns *netns.NS, version uint8) (opened []*socket, err error) {
	open := func(sock **socket, protocol int) (err error) {
		if *sock == nil {
			if *sock, err = openSocket(protocol, r.Interface, r.link.index, r.Addr, r.Peers); err == nil {
				opened = append(opened, *sock)
			}
		}
		return err
	}
	err = ns.Do(func() error {
		if err := open(&r.sock, vrrp.Protocol); err != nil || version != 2 {
			r.header = nil
			return err
		}
		return open(&r.header, unix.IPPROTO_AH)
	})
	return opened, err
}

// sockets are those that are open.
func (g *speaking) sockets() (out []*socket) {
	for _, r := range g.routers {
		for _, sock := range []*socket{r.sock, r.header} {
			if sock != nil {
				out = append(out, sock)
			}
		}
	}
	return out
}

// Close lets go of the sockets; addresses stay where they are.
func (s *Speaker) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, g := range s.groups {
		for _, sock := range g.sockets() {
			errs = append(errs, sock.close())
		}
	}
	if s.monitor != nil {
		errs = append(errs, s.monitor.close())
	}
	if s.packets != nil {
		errs = append(errs, s.packets.close())
	}
	if s.addrs.conn != nil {
		errs = append(errs, s.addrs.conn.Close())
	}
	if s.wake >= 0 {
		errs = append(errs, unix.Close(s.wake))
	}
	s.groups, s.monitor, s.packets, s.addrs.conn, s.wake = nil, nil, nil, nil, -1
	return errors.Join(errs...)
}

// leastProcs keeps a processor of Go's scheduler free for a timer that fires
// while the program is busy elsewhere: on a machine with one CPU it would wait
// for up to 10 ms.
const leastProcs = 4

// Run speaks until ctx ends, then resigns from all groups and gives their
// addresses up. It fails if an address could not be given up.
func (s *Speaker) Run(ctx context.Context) error {
	if runtime.GOMAXPROCS(0) < leastProcs {
		runtime.GOMAXPROCS(leastProcs)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.rouse()
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken // the descriptor may soon be another's
		}
	}()
	result := make(chan error, 1)
	go func() { result <- s.loop(ctx) }()
	return <-result
}

// loop has a thread of its own that it never gives back, for its priority is
// above that of others.
func (s *Speaker) loop(ctx context.Context) error {
	runtime.LockOSThread()
	defer close(s.ended)
	if err := preferThread(); err != nil {
		s.report(Report{Time: time.Now(), Text: "VRRP without a preferred thread: it may be late on a busy machine", Err: err})
	}
	s.begin(time.Now())
	fds := s.pollFDs()
	for ctx.Err() == nil {
		if err := s.wait(fds); err != nil {
			return errors.Join(err, s.end())
		}
		s.work(fds)
		if fds[0].Revents != 0 && s.answer() {
			fds = s.pollFDs()
		}
	}
	return s.end()
}

// preferThread gives the calling thread the least nice value (sched(7)): an
// advertisement that is late by three intervals is a takeover for nothing. It
// is no real-time priority: where Go's runtime waits for another of its
// threads with sched_yield(2), such a thread would keep that one from running.
func preferThread() error {
	const resetOnFork, leastNice = 1, -20 // SCHED_FLAG_RESET_ON_FORK: it is for this thread only
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: leastNice, Flags: resetOnFork}, 0)
}

// begin starts the groups.
func (s *Speaker) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		s.start(g, now)
	}
}

// start starts a group. Whoever isn't active at once takes off what an earlier
// process, that was killed, has left.
func (s *Speaker) start(g *speaking, now time.Time) {
	for i, r := range g.routers {
		if !r.link.up {
			s.perform(g, g.fsm.LinkDown(now, i), now)
		}
	}
	s.perform(g, g.fsm.Startup(now), now)
	if g.fsm.State() == vrrp.Active {
		return
	}
	if n, err := s.give(g); n > 0 || err != nil {
		g.fsm.Leftovers()
		s.report(Report{Time: now, Group: g.Name, Text: fmt.Sprintf("%d addresses taken off that were left from before", n), Err: err})
	}
}

// pollFDs are the wake-up call, the link monitor, and the sockets in order.
func (s *Speaker) pollFDs() []unix.PollFd {
	fds := []unix.PollFd{{Fd: int32(s.wake), Events: unix.POLLIN}, {Fd: int32(s.monitor.fd), Events: unix.POLLIN}}
	for _, g := range s.groups {
		for _, r := range g.routers {
			fds = append(fds, unix.PollFd{Fd: int32(r.sock.fd), Events: unix.POLLIN})
			if r.header != nil {
				fds = append(fds, unix.PollFd{Fd: int32(r.header.fd), Events: unix.POLLIN})
			}
		}
	}
	return fds
}

// wait sleeps until something comes in or the first timer fires.
func (s *Speaker) wait(fds []unix.PollFd) error {
	var timeout *unix.Timespec
	var next time.Time
	for _, g := range s.groups {
		if d := g.fsm.Deadline(); !d.IsZero() && (next.IsZero() || d.Before(next)) {
			next = d
		}
	}
	if !next.IsZero() {
		t := unix.NsecToTimespec(int64(max(0, time.Until(next))))
		timeout = &t
	}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for VRRP packets: %w", err)
	}
	return nil
}

// work takes in what there is before it looks at the timers: after a pause, an
// advertisement that waits in a socket says that nobody is dead.
func (s *Speaker) work(fds []unix.PollFd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fds[1].Revents != 0 {
		s.linksChanged()
	}
	i := 2
	for _, g := range s.groups {
		for router := range g.routers {
			if fds[i].Revents != 0 {
				s.drain(g, router)
			}
			i++
			if header := g.routers[router].header; header != nil {
				if fds[i].Revents != 0 {
					s.drainHeaders(g, router)
				}
				i++
			}
		}
	}
	for _, g := range s.groups {
		now := time.Now()
		if d := g.fsm.Deadline(); !d.IsZero() && !now.Before(d) {
			s.perform(g, g.fsm.Tick(now), now)
		}
	}
}

// linksChanged takes in what the monitor has heard.
func (s *Speaker) linksChanged() {
	changes, lost := s.monitor.drain()
	if lost {
		names := make([]string, 0, len(s.links))
		for name := range s.links {
			names = append(names, name)
		}
		if now, err := findLinks(s.ns, names); err == nil {
			for _, l := range now {
				changes[l.index] = l.up
			}
		}
	}
	now := time.Now()
	for _, l := range s.links {
		if up, ok := changes[l.index]; ok && up != l.up {
			l.up = up
			s.linkChanged(l, now)
		}
	}
}

func (s *Speaker) linkChanged(l *link, now time.Time) {
	for _, g := range s.groups {
		for i, r := range g.routers {
			switch {
			case r.link != l:
			case l.up:
				s.perform(g, g.fsm.LinkUp(now, i), now)
			default:
				s.perform(g, g.fsm.LinkDown(now, i), now)
			}
		}
	}
}

// drain takes all packets from a router's socket.
func (s *Speaker) drain(g *speaking, router int) {
	r := g.routers[router]
	for {
		p, err := r.sock.receive()
		if errors.Is(err, errMalformed) {
			r.counts.Discarded++
			continue
		}
		if err != nil {
			return // EAGAIN; of a link that went down the monitor knows
		}
		s.receive(g, router, p)
	}
}

// receive takes in one packet. Another router's id, and one that is not meant
// for us, are no faults.
func (s *Speaker) receive(g *speaking, router int, p packet) {
	r, now := g.routers[router], time.Now()
	if !r.sock.expected(p) || len(p.payload) > 1 && p.payload[1] != r.ID {
		return
	}
	if len(r.Peers) > 0 {
		// The RFC knows no unicast; a peer that is named may be routers away, and
		// keepalived sends IPv6 to one with a hop limit of 64.
		p.ttl = vrrp.TTL
	}
	advert, err := vrrp.Parse(p.payload, p.src, p.dst, p.ttl)
	var actions []vrrp.Action
	if err == nil {
		actions, err = g.fsm.Receive(now, router, p.src, advert)
	}
	switch {
	case err != nil:
		r.counts.Discarded++
	case sameAddresses(advert.Addresses, r.Addresses):
		r.counts.Received++
		r.refused = ""
	default: // only told: RFC 9568, section 7.1, lets one choose
		r.counts.Received++
		err = fmt.Errorf("VRRP packet from %s, id %d: its addresses %v are not ours, %v", p.src, r.ID, advert.Addresses, r.Addresses)
	}
	s.refuse(g, r, err)
	s.perform(g, actions, now)
}

// refuse tells of a packet's fault, once until there is another.
func (s *Speaker) refuse(g *speaking, r *routing, err error) {
	if err != nil && err.Error() != r.refused {
		r.refused = err.Error()
		s.report(Report{Time: time.Now(), Group: g.Name, From: g.fsm.State(), To: g.fsm.State(), Text: "on " + r.Network, Err: err})
	}
}

func sameAddresses(a, b []netip.Addr) bool {
	a, b = slices.SortedFunc(slices.Values(a), netip.Addr.Compare), slices.SortedFunc(slices.Values(b), netip.Addr.Compare)
	return slices.Equal(a, b)
}
