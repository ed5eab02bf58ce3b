package traffic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loop drives all of a session's connections from the calling goroutine. It
// has an epoll set of its own, which the Go scheduler waits for as for any
// file: many events cost one wake-up, and no thread is blocked. Everything
// but waiting is a system call on a socket that doesn't block.
type loop struct {
	spec    Spec
	request []byte // what is sent on each connection; empty: nothing
	last    []byte // what makes the server close
	stock   stock
	names   map[string]string // one copy of each identity

	epoll   *os.File
	epollFD int
	alarm   alarm
	raw     syscall.RawConn
	events  [256]unix.EpollEvent
	nevents int
	waitErr error
	glances patience // see glance
	yields  patience // see conn.await

	base    time.Time
	now     time.Duration // since base, at the last look
	slots   []*conn       // by the number in an epoll event
	free    []int32       // slots not in use
	queue   []*conn       // waiting connections, oldest deadline first; done ones are skipped
	armed   time.Duration // when the alarm goes off, since base
	waiting int           // connections without an outcome, or still closing

	opened  int
	done    int
	held    map[int]*conn
	records []Connection
	result  Result
	busy    time.Duration // time spent in open
	shown   time.Duration // time of the last Progress
	scratch [64 << 10]byte
}

func newLoop(enter Enter, spec Spec) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll set: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make epoll set: %w", err)
	}
	f := os.NewFile(uintptr(fd), "epoll")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("wait for epoll set: %w", err)
	}
	l := &loop{
		spec: spec, epoll: f, epollFD: fd, raw: raw, base: time.Now(),
		stock: stock{enter: enter, spec: spec, to: newRawAddr(spec.To)},
		names: map[string]string{}, held: map[int]*conn{}, result: newResult(spec),
	}
	l.request, l.last = requests(spec)
	if l.alarm, err = newAlarm(fd); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *loop) close() error {
	err := l.epoll.Close()
	return errors.Join(err, l.alarm.close(), l.stock.close())
}

func (l *loop) snapshot() Result {
	r := l.result
	r.Opened = l.opened
	r.Elapsed = l.busy
	r.Connections = append([]Connection(nil), l.records...)
	return r
}

// open opens n connections (zero: until Spec.Duration is over).
func (l *loop) open(ctx context.Context, n int) error {
	if err := l.room(n); err != nil {
		return err
	}
	defer l.heed(ctx)()
	l.tick()
	started, first := l.now, l.opened
	defer func() { l.tick(); l.busy += l.now - started; l.progress(n, started, true) }()
	var failure error
	for {
		next := time.Duration(0)
		for failure == nil && ctx.Err() == nil && l.waiting < l.spec.Concurrency && l.wanted(n, first, started) {
			if due := l.due(first, started); due > l.now {
				next = due
				break
			}
			failure = l.openOne(l.left(n, first))
			l.progress(n, started, false)
		}
		if l.waiting == 0 && next == 0 {
			return errors.Join(failure, ctx.Err())
		}
		if err := l.step(ctx, next); err != nil {
			return errors.Join(failure, err)
		}
		l.progress(n, started, false)
	}
}

func (l *loop) wanted(n, first int, started time.Duration) bool {
	if n > 0 && l.opened-first >= n {
		return false
	}
	return l.spec.Duration == 0 || l.now-started < l.spec.Duration
}

func (l *loop) left(n, first int) int {
	if n == 0 {
		return stockSize
	}
	return n - (l.opened - first)
}

// due is when the next connection may be opened.
func (l *loop) due(first int, started time.Duration) time.Duration {
	if l.spec.Rate <= 0 {
		return 0
	}
	return started + time.Duration(float64(l.opened-first)/l.spec.Rate*float64(time.Second))
}

// room makes sure of enough file descriptors and memory for records.
func (l *loop) room(n int) error {
	files := l.spec.Concurrency
	if l.spec.Hold {
		files = max(n, files)
	}
	if err := RaiseFileLimit(uint64(len(l.held) + files + 512)); err != nil {
		return fmt.Errorf("open %d connections at once: %w", files, err)
	}
	if !l.spec.SumsOnly && cap(l.records)-len(l.records) < n {
		l.records = append(make([]Connection, 0, len(l.records)+n), l.records...)
	}
	return nil
}

// tick reads the clock.
func (l *loop) tick() { l.now = time.Since(l.base) }

// step waits until next (zero: no such time), an event or a deadline, and
// deals with what happened.
func (l *loop) step(ctx context.Context, next time.Duration) error {
	if ctx.Err() != nil {
		l.tick()
		l.abandon()
		return nil
	}
	var err error
	if !l.glance(next) {
		if err = l.arm(next); err == nil {
			err = l.raw.Read(l.poll)
		}
	}
	l.tick()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for connections: %w", err)
	}
	if l.waitErr != nil {
		return fmt.Errorf("wait for connections: %w", l.waitErr)
	}
	for i := range l.nevents {
		slot := l.events[i].Fd
		if slot == alarmSlot {
			continue // expire looks what is due
		}
		if c := l.slots[slot]; c != nil {
			c.ready(l, l.events[i].Events)
		}
	}
	l.nevents = 0
	l.expire()
	return nil
}

// glance gives way to other processes and then waits for a moment without
// telling the Go scheduler: on one processor the servers have by then answered
// as many connections as they could, which are dealt with at one go, and
// neither the scheduler nor its monitor thread has anything to do.
func (l *loop) glance(next time.Duration) bool {
	if !l.glances.tries() {
		return false
	}
	millis := glanceMillis
	if next > 0 && next < l.now+2*time.Millisecond {
		millis = 0
	}
	rawYield()
	l.nevents, l.waitErr = rawEpollWait(l.epollFD, l.events[:], 0)
	if l.seen() { // the kernel's own doing, such as a connection that is made, says nothing about the servers
		return true
	}
	l.nevents, l.waitErr = rawEpollWait(l.epollFD, l.events[:], millis)
	seen := l.seen()
	l.glances.note(seen)
	return seen
}

// glanceMillis is for how long a glance keeps the processor from this
// process's other goroutines.
const glanceMillis = 1

// patience tells how often to look for what a server in another process may
// have done by now. Where that sees nothing, as with servers in this very
// process, it is tried ever less.
type patience struct {
	idle   int // turns without a look to come
	misses int // looks in a row that saw nothing
}

const mostMisses = 8 // in a row: every 256th turn begins with a look

// tries tells whether to look this time.
func (p *patience) tries() bool {
	if p.idle > 0 {
		p.idle--
		return false
	}
	return true
}

// note takes what a look was good for.
func (p *patience) note(seen bool) {
	if seen {
		p.misses = 0
		return
	}
	p.misses = min(p.misses+1, mostMisses)
	p.idle = 1<<p.misses - 1
}

// poll collects events; it is called until it has some.
func (l *loop) poll(fd uintptr) bool {
	l.nevents, l.waitErr = rawEpollWait(int(fd), l.events[:], 0)
	return l.seen()
}

// seen tells whether the last look at the epoll set has to be dealt with.
func (l *loop) seen() bool {
	if errors.Is(l.waitErr, unix.EINTR) {
		l.waitErr = nil
	}
	l.nevents = max(l.nevents, 0)
	return l.nevents > 0 || l.waitErr != nil
}

// arm sets the alarm for the earliest of next and the oldest connection's
// deadline. An alarm that is too early does no harm and is left alone.
func (l *loop) arm(next time.Duration) error {
	for len(l.queue) > 0 && l.queue[0].state == stateDone {
		l.queue = l.queue[1:]
	}
	if len(l.queue) > 0 && (next == 0 || l.queue[0].deadline < next) {
		next = l.queue[0].deadline
	}
	if next == 0 || (l.armed > l.now && l.armed <= next) {
		return nil
	}
	l.armed = max(next, l.now+1)
	return l.alarm.set(l.armed - l.now)
}

func (l *loop) expire() {
	for len(l.queue) > 0 && (l.queue[0].state == stateDone || l.queue[0].deadline <= l.now) {
		c := l.queue[0]
		l.queue = l.queue[1:]
		if c.state != stateDone {
			c.fail(l, TimedOut, KindDeadline)
		}
	}
}

// abandon ends every waiting connection because the context did.
func (l *loop) abandon() {
	for _, c := range l.queue {
		if c.state != stateDone {
			c.fail(l, Failed, KindCanceled)
		}
	}
	l.queue = nil
}

func (l *loop) progress(total int, started time.Duration, last bool) {
	const every = 200 * time.Millisecond
	if l.spec.Progress == nil || (!last && l.now-l.shown < every) {
		return
	}
	l.shown = l.now
	l.spec.Progress(Progress{
		Opened: l.opened, Done: l.done, Answered: l.result.Outcomes[Answered],
		Total: total, Elapsed: l.now - started,
	})
}
