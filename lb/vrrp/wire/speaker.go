package wire

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
