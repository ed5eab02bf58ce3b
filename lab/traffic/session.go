package traffic

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Session opens connections of one kind from one namespace and keeps them as
// told. It is for one goroutine at a time.
type Session struct {
	loop *loop
}

// NewSession prepares a client; nothing is sent yet. enter is used for making
// sockets only, and must stay usable as long as the session opens any.
func NewSession(enter Enter, spec Spec) (*Session, error) {
	spec, err := spec.withDefaults()
	if err != nil {
		return nil, err
	}
	l, err := newLoop(enter, spec)
	if err != nil {
		return nil, err
	}
	return &Session{loop: l}, nil
}

// Open opens n more connections as the spec says, and returns when each of
// them has its outcome. The connections are those of this call; a connection
// that failed is a result and not an error. The error is about the client
// itself, or the context's.
func (s *Session) Open(ctx context.Context, n int) ([]Connection, error) {
	first := len(s.loop.records)
	err := s.loop.open(ctx, n)
	return slices.Clone(s.loop.records[min(first, len(s.loop.records)):]), err
}

// Result is what the session has seen so far.
func (s *Session) Result() Result { return s.loop.snapshot() }

// Held lists the indexes of the connections that are open, in order of opening.
func (s *Session) Held() []int {
	var open []int
	for i := range s.loop.held {
		open = append(open, i)
	}
	slices.Sort(open)
	return open
}

// Check sends a line over held connections and waits for its echo (the
// built-in TCP responder's), all at once. It tells whether connections are
// still served, and by whom they were opened; the Source, Index and Identity
// are those of the opening. With no index it checks all.
func (s *Session) Check(ctx context.Context, indexes ...int) ([]Connection, error) {
	conns, err := s.pick(indexes)
	if err != nil {
		return nil, err
	}
	return s.loop.check(ctx, conns)
}

// CloseConns ends held connections in the given way; with no index, all of
// them. For CloseServer it waits for the server's FIN, at most Spec.Timeout.
func (s *Session) CloseConns(ctx context.Context, how CloseMode, indexes ...int) error {
	conns, err := s.pick(indexes)
	if err != nil {
		return err
	}
	return s.loop.closeHeld(ctx, how, conns)
}

// HalfClose sends a FIN and goes on listening (shutdown(2), SHUT_WR): the
// connection stays held, the director sees the first FIN alone.
func (s *Session) HalfClose(indexes ...int) error {
	conns, err := s.pick(indexes)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range conns {
		if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
			errs = append(errs, fmt.Errorf("half-close connection %d: %w", c.rec.Index, err))
		}
	}
	return errors.Join(errs...)
}

// Close closes whatever is still held, as the client would (FIN; for a
// half-open connection nothing is sent), and frees the session.
func (s *Session) Close() error {
	return errors.Join(s.loop.closeHeld(context.Background(), CloseClient, s.all()), s.loop.close())
}

func (s *Session) all() []*conn {
	var conns []*conn
	for _, i := range s.Held() {
		conns = append(conns, s.loop.held[i])
	}
	return conns
}

func (s *Session) pick(indexes []int) ([]*conn, error) {
	if len(indexes) == 0 {
		return s.all(), nil
	}
	var conns []*conn
	for _, i := range indexes {
		c, ok := s.loop.held[i]
		if !ok {
			return nil, fmt.Errorf("find connection %d: not held open", i)
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// Run opens what the spec says, closes it, and reports. A connection that
// failed is a result and not an error.
func Run(ctx context.Context, enter Enter, spec Spec) (res Result, err error) {
	s, err := NewSession(enter, spec)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	spec = s.loop.spec
	err = s.loop.open(ctx, spec.Connections)
	closeErr := s.loop.closeHeld(ctx, spec.Close, s.all())
	return s.Result(), errors.Join(err, closeErr)
}
