package traffic

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// HostOptions tune a Host.
type HostOptions struct {
	// LogLimit is how many of the newest acceptances are remembered; zero: 65,536.
	LogLimit int
}

// Host holds the responders of any number of nodes in one process.
type Host struct {
	log *acceptLog

	mu         sync.Mutex
	responders []*Responder
}

// NewHost makes a host without responders. It asks for as many open files as
// the kernel lets this process have, since every connection is one; without
// the right to raise the limit it lives with the present one.
func NewHost(o HostOptions) *Host {
	if o.LogLimit <= 0 {
		o.LogLimit = 1 << 16
	}
	_ = RaiseFileLimit(1 << 20)
	return &Host{log: newAcceptLog(o.LogLimit)}
}

// Start opens the responder's sockets inside enter and serves them until
// [Responder.Stop] or [Host.Close]. When one address can't be bound, none is.
func (h *Host) Start(enter Enter, spec ResponderSpec) (*Responder, error) {
	if spec.Identity == "" {
		spec.Identity = spec.Node
	}
	r := &Responder{spec: spec, enter: enter, log: h.log}
	if err := r.Start(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.responders = append(h.responders, r)
	return r, nil
}

// Responders lists what was started, in that order, stopped ones included.
func (h *Host) Responders() []*Responder {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.responders)
}

// Find lists the responders of a node; an empty protocol or a zero port stands for any.
func (h *Host) Find(node, protocol string, port uint16) []*Responder {
	var found []*Responder
	for _, r := range h.Responders() {
		if r.spec.Node == node && (protocol == "" || r.spec.Protocol == protocol) &&
			(port == 0 || r.spec.Port == port) {
			found = append(found, r)
		}
	}
	return found
}

// Counts gives every responder's counters, in the order of starting.
func (h *Host) Counts() []Counts {
	var all []Counts
	for _, r := range h.Responders() {
		all = append(all, r.Counts())
	}
	return all
}

// Accepted gives what was accepted from sequence number since on; zero means
// from the beginning.
func (h *Host) Accepted(since uint64) AcceptLog { return h.log.since(since) }

// Close stops every responder; it goes on past errors and joins them.
func (h *Host) Close() error {
	var errs []error
	for _, r := range h.Responders() {
		errs = append(errs, r.Stop())
	}
	return errors.Join(errs...)
}

// RaiseFileLimit lets this process have n open files (RLIMIT_NOFILE in
// getrlimit(2)), or as many as it may raise itself to. It fails when that is
// fewer than n.
func RaiseFileLimit(n uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	if now.Cur >= n {
		return nil
	}
	if n <= now.Max {
		now.Cur = n
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
			return fmt.Errorf("raise limit of open files to %d: %w", n, err)
		}
		return nil
	}
	// A hard limit takes a privilege; the soft one up to it does not.
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
	if err == nil {
		return nil
	}
	hard := now.Max
	now.Cur = hard
	return fmt.Errorf("raise limit of open files to %d, have %d: %w", n, hard,
		errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &now)))
}
