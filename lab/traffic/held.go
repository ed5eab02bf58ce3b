package traffic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// check is a question over a held connection.
type check struct {
	started time.Duration
	want    []byte // echo still to come; nil for HTTP
	result  Connection
}

// check asks over each of conns and waits for all.
func (l *loop) check(ctx context.Context, conns []*conn) ([]Connection, error) {
	if l.spec.Protocol == UDP || l.spec.HalfOpen || l.spec.ConnectOnly {
		return nil, errors.New("check connections: only tcp and http connections that were answered can be asked")
	}
	l.queue = nil // nothing waits between calls
	l.tick()
	for _, c := range conns {
		c.check = &check{started: l.now, result: c.rec}
		c.deadline = l.now + l.spec.Timeout
		l.waiting++
		l.queue = append(l.queue, c)
		if l.spec.Protocol == HTTP {
			c.answer.reset()
			c.send(l)
			continue
		}
		line := "check " + strconv.Itoa(c.rec.Index) + "\n"
		c.check.want = []byte(line)
		c.state = stateReading
		if _, err := rawWrite(c.fd, c.check.want); err != nil {
			c.failWith(l, err)
			continue
		}
		c.watch(l, unix.EPOLLIN)
	}
	asked := make([]*check, len(conns))
	for i, c := range conns {
		asked[i] = c.check
	}
	err := l.drain(ctx)
	out := make([]Connection, len(conns))
	for i, c := range conns {
		out[i] = asked[i].result
		c.check = nil
	}
	return out, err
}

// drain runs the loop until nothing waits.
func (l *loop) drain(ctx context.Context) error {
	defer l.heed(ctx)()
	for l.waiting > 0 {
		if err := l.step(ctx, 0); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// checked takes what came back.
func (c *conn) checked(l *loop, data []byte) {
	if len(data) == 0 {
		c.fail(l, Failed, KindEOF)
		return
	}
	if l.spec.Protocol == HTTP {
		whole, kind := c.answer.feed(HTTP, data)
		if kind == "" && whole && l.name(c.answer.identity) != c.rec.Identity {
			kind = KindIdentity
		}
		if kind != "" {
			c.fail(l, Failed, kind)
		} else if whole {
			c.checkDone(l, Answered, "")
		}
		return
	}
	if len(data) > len(c.check.want) || string(data) != string(c.check.want[:len(data)]) {
		c.fail(l, Failed, KindMalform)
		return
	}
	if c.check.want = c.check.want[len(data):]; len(c.check.want) == 0 {
		c.checkDone(l, Answered, "")
	}
}

// checkFailed ends a check. A connection that is gone is held no longer.
func (c *conn) checkFailed(l *loop, outcome Outcome, kind string) {
	gone := outcome == Reset || kind == KindEOF
	if gone {
		c.check.result.Held = false
	}
	c.checkDone(l, outcome, kind)
	if gone {
		c.release(l, "")
		_ = c.shut(l, CloseClient) // its end has been reported
	}
}

func (c *conn) checkDone(l *loop, outcome Outcome, kind string) {
	c.state = stateDone
	l.waiting--
	c.unwatch(l)
	c.check.result.Outcome, c.check.result.Kind = outcome, kind
	c.check.result.Latency = l.now - c.check.started
}

// release notes that a connection is held no longer.
func (c *conn) release(l *loop, how CloseMode) {
	delete(l.held, c.rec.Index)
	c.rec.Held, c.rec.Closed = false, how
	c.record(l)
}

// closeHeld ends connections in the given way, going on past errors.
func (l *loop) closeHeld(ctx context.Context, how CloseMode, conns []*conn) error {
	if how == "" {
		how = CloseClient
	}
	if how == CloseServer && !l.spec.HalfOpen {
		return l.closeByServer(ctx, conns)
	}
	var errs []error
	for _, c := range conns {
		c.release(l, how)
		if err := c.shut(l, how); err != nil {
			errs = append(errs, fmt.Errorf("close connection %d by %s: %w", c.rec.Index, how, err))
		}
	}
	return errors.Join(errs...)
}

// closeByServer asks the server to close each connection and waits for its FIN.
func (l *loop) closeByServer(ctx context.Context, conns []*conn) error {
	if l.spec.Protocol == UDP {
		return errors.New("close connections by server: udp has none")
	}
	defer l.heed(ctx)()
	var errs []error
	for _, c := range conns {
		if err := c.awaitClose(ctx, l); err != nil {
			errs = append(errs, fmt.Errorf("close connection %d by server: %w", c.rec.Index, err))
		}
		c.release(l, CloseServer)
		errs = append(errs, c.shut(l, CloseClient))
	}
	return errors.Join(errs...)
}

// awaitClose has one connection closed by its server. One after the other
// keeps the order of the FINs.
func (c *conn) awaitClose(ctx context.Context, l *loop) error {
	if _, err := rawWrite(c.fd, l.last); err != nil {
		return err
	}
	c.state, l.queue = stateDone, nil // this one isn't the loop's to finish
	c.watch(l, unix.EPOLLIN)
	l.tick()
	limit := l.now + l.spec.Timeout
	for {
		n, err := rawRead(c.fd, l.scratch[:])
		switch {
		case n > 0:
			continue
		case err == nil:
			return nil
		case !errors.Is(err, unix.EAGAIN):
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.tick(); l.now >= limit {
			return os.ErrDeadlineExceeded
		}
		if err := l.step(ctx, limit); err != nil {
			return err
		}
	}
}
