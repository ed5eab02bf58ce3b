package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lb/vrrp"
	"golang.org/x/sys/unix"
)

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
