package traffic

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

type state uint8

const (
	stateConnecting state = iota // until writable
	stateSending                 // until the request is taken
	stateReading                 // until the answer is whole
	stateClosing                 // until the server has closed
	stateDone                    // has its outcome; closed or held
)

// conn is one connection of a loop.
type conn struct {
	fd       int
	slot     int32  // number in epoll events; -1: not watched
	interest uint32 // events watched
	state    state
	ended    bool // the server's FIN had come when the last event did
	deadline time.Duration
	rec      Connection
	answer   answer
	check    *check // set while a held connection is being checked
}

// begin goes on after connect(2) was called.
func (c *conn) begin(l *loop) {
	switch {
	case l.spec.HalfOpen:
		c.finish(l, HalfOpen, "")
	case l.spec.ConnectOnly:
		c.state = stateConnecting
		c.watch(l, unix.EPOLLOUT)
	case isStream(l.spec.Protocol):
		c.await(l)
	default:
		// Over a lab's veth pairs the handshake is done by now, as a rule, and this takes the data.
		c.send(l)
	}
}

// ready deals with an event.
func (c *conn) ready(l *loop, events uint32) {
	c.ended = events&(unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) == unix.EPOLLRDHUP
	switch c.state {
	case stateConnecting:
		errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		if err != nil {
			c.failWith(l, err)
			return
		}
		c.finish(l, Answered, "")
	case stateSending:
		c.send(l)
	case stateReading:
		c.read(l)
	case stateClosing:
		c.awaitEOF(l)
	}
}

// send writes the next request. A request fits into any socket's buffer, so
// it is taken whole or not at all.
func (c *conn) send(l *loop) {
	request := l.request
	if c.check == nil && l.spec.Protocol == HTTP && c.rec.Requests == l.spec.Requests-1 &&
		l.spec.Close == CloseServer && !l.spec.Hold {
		request = l.last
	}
	c.state = stateSending
	switch _, err := rawWrite(c.fd, request); {
	case errors.Is(err, unix.EAGAIN):
		c.watch(l, unix.EPOLLOUT)
	case err != nil:
		c.failWith(l, err)
	default:
		c.await(l)
	}
}

// await waits for an answer. With one connection at a time it first gives way
// to the server and looks whether the answer is there: on one processor it
// mostly is, which saves the way through epoll and scheduler.
func (c *conn) await(l *loop) {
	c.state = stateReading
	if l.spec.Concurrency == 1 && c.check == nil && c.slot < 0 && c.rec.Requests == 0 && l.yields.tries() {
		rawYield()
		n, err := rawRead(c.fd, l.scratch[:])
		there := !errors.Is(err, unix.EAGAIN)
		l.yields.note(there)
		if there {
			l.tick()
			c.took(l, n, err)
			if c.state != stateReading && c.state != stateClosing {
				return
			}
		}
	}
	c.watch(l, unix.EPOLLIN|unix.EPOLLRDHUP)
}

func (c *conn) read(l *loop) {
	n, err := rawRead(c.fd, l.scratch[:])
	c.took(l, n, err)
}

// took deals with what a read returned.
func (c *conn) took(l *loop, n int, err error) {
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err != nil {
		c.failWith(l, err)
		return
	}
	l.result.Bytes += int64(n)
	if c.check != nil {
		c.checked(l, l.scratch[:n])
		return
	}
	whole, kind := c.answer.feed(l.spec.Protocol, l.scratch[:n])
	switch {
	case kind != "":
		c.fail(l, Failed, kind)
	case whole:
		c.answered(l)
	case n == 0 && l.spec.Protocol != UDP:
		c.fail(l, Failed, KindEOF)
	}
}

// answered goes on after a whole answer: another request, the close, or done.
func (c *conn) answered(l *loop) {
	who := l.name(c.answer.identity)
	if c.rec.Requests > 0 && who != c.rec.Identity {
		c.fail(l, Failed, KindIdentity)
		return
	}
	c.rec.Identity = who
	c.rec.Requests++
	c.answer.reset()
	if c.rec.Requests < l.spec.Requests && !isStream(l.spec.Protocol) {
		c.send(l)
		return
	}
	if l.spec.Close != CloseServer || l.spec.Hold {
		c.finish(l, Answered, "")
		return
	}
	c.rec.Latency = l.now - c.rec.Opened
	if isStream(l.spec.Protocol) {
		if _, err := rawWrite(c.fd, l.last); err != nil {
			c.failWith(l, err)
			return
		}
	}
	c.state = stateClosing
	if l.spec.Protocol == HTTP {
		if c.ended { // mostly so of a server that ends with its answer
			c.closedByServer(l)
			return
		}
		c.awaitEOF(l) // or by now: spares a turn of the loop
	}
}

func (c *conn) awaitEOF(l *loop) {
	n, err := rawRead(c.fd, l.scratch[:])
	switch {
	case errors.Is(err, unix.EAGAIN), n > 0:
	case err != nil:
		c.failWith(l, err)
	default:
		c.closedByServer(l)
	}
}

func (c *conn) closedByServer(l *loop) {
	c.rec.Closed = CloseServer
	c.finish(l, Answered, "")
}

func (c *conn) failWith(l *loop, err error) {
	outcome, kind := Classify(err)
	c.fail(l, outcome, kind)
}

// fail ends a connection, or a check of one, without its answer.
func (c *conn) fail(l *loop, outcome Outcome, kind string) {
	if c.check != nil {
		c.checkFailed(l, outcome, kind)
		return
	}
	if c.state == stateClosing {
		// It was answered; what failed is the close.
		kind = "close: " + kind
		outcome = Answered
	}
	c.finish(l, outcome, kind)
}

// finish notes the outcome and closes the connection, or holds it.
func (c *conn) finish(l *loop, outcome Outcome, kind string) {
	if c.state != stateClosing {
		c.rec.Latency = l.now - c.rec.Opened
	}
	c.state = stateDone
	c.rec.Outcome, c.rec.Kind = outcome, kind
	l.waiting--
	l.done++
	if l.spec.Hold && (outcome == Answered || outcome == HalfOpen) {
		c.rec.Held = true
		c.unwatch(l)
		l.held[c.rec.Index] = c
	} else {
		how := l.spec.Close
		if c.rec.Closed != "" || outcome != Answered || kind != "" {
			how = CloseClient
		} else {
			c.rec.Closed = how
		}
		if err := c.shut(l, how); err != nil && c.rec.Kind == "" {
			_, why := Classify(err)
			c.rec.Kind = "close: " + why
		}
	}
	l.result.add(&c.rec)
	c.record(l)
}

// record stores the connection where Result reads it.
func (c *conn) record(l *loop) {
	if !l.spec.SumsOnly {
		l.records[c.rec.Index] = c.rec
	}
}

// shut closes the socket; CloseServer is the caller's to have waited for.
func (c *conn) shut(l *loop, how CloseMode) error {
	var err error
	switch how {
	case CloseReset:
		err = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case CloseVanish:
		err = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	}
	if c.slot >= 0 { // closing takes it out of the epoll set
		l.slots[c.slot] = nil
		l.free = append(l.free, c.slot)
		c.slot, c.interest = -1, 0
	}
	return errors.Join(err, rawClose(c.fd))
}

// watch asks for events.
func (c *conn) watch(l *loop, events uint32) {
	if c.interest == events {
		return
	}
	op := unix.EPOLL_CTL_MOD
	if c.slot < 0 {
		op = unix.EPOLL_CTL_ADD
		if n := len(l.free); n > 0 {
			c.slot, l.free = l.free[n-1], l.free[:n-1]
		} else {
			c.slot = int32(len(l.slots))
			l.slots = append(l.slots, nil)
		}
		l.slots[c.slot] = c
	}
	c.interest = events
	if err := rawEpollCtl(l.epollFD, op, c.fd, &unix.EpollEvent{Events: events, Fd: c.slot}); err != nil {
		c.failWith(l, err)
	}
}

// unwatch takes a connection that stays open out of the epoll set.
func (c *conn) unwatch(l *loop) {
	if c.slot < 0 {
		return
	}
	_ = rawEpollCtl(l.epollFD, unix.EPOLL_CTL_DEL, c.fd, nil) // it is in the set, see watch
	l.slots[c.slot] = nil
	l.free = append(l.free, c.slot)
	c.slot, c.interest = -1, 0
}
