package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrLost says that a capture is not whole.
var ErrLost = errors.New("packets lost")

// Options say what to capture. Only Interface is needed.
type Options struct {
	Node      string // for naming, in packets and files
	Interface string

	SnapLen int                  // bytes kept of each packet; zero: all
	BPF     []bpf.RawInstruction // in the kernel: what it refuses is never seen
	Keep    func(Packet) bool    // afterwards: what it refuses is not kept, but was seen
	Limit   int                  // packets kept; zero: 1,048,576. More are counted as lost.
	Buffer  int                  // bytes of the kernel's queue; zero: 32 MiB

	// GUEPorts are the UDP ports whose payload is Generic UDP Encapsulation; nil: 6080.
	GUEPorts []uint16
	// Live, when set, also gets each packet as it is seen.
	Live *Writer
}

// Stats count packets.
type Stats struct {
	Seen    uint64 `json:"seen"`           // by the interface, drops included
	Dropped uint64 `json:"dropped"`        // by the kernel, for want of room (PACKET_STATISTICS in packet(7))
	Over    uint64 `json:"over,omitempty"` // beyond Options.Limit
}

// Frame is a packet as captured.
type Frame struct {
	Time      time.Time
	Direction Direction
	Data      []byte // from the Ethernet header on, at most SnapLen bytes
	Length    int    // on the wire
}

// Capture is a running or stopped capture of one interface.
type Capture struct {
	options  Options
	linkType uint16 // ARPHRD_*, from the socket
	conn     *packet.Conn
	raw      syscall.RawConn
	done     sync.WaitGroup
	release  func() bool // undoes the context's hook

	mu      sync.Mutex
	frames  []Frame
	packets []Packet // decoded, a prefix of frames
	stats   Stats
	err     error
	stopped bool
	changed chan struct{} // closed and replaced when frames come or the capture ends
	buf     []byte
	oob     []byte
}

// Start captures until [Capture.Stop], or until ctx ends. When it returns,
// every packet from now on is captured.
func Start(ctx context.Context, enter Enter, o Options) (*Capture, error) {
	if o.SnapLen <= 0 || o.SnapLen > 1<<18 {
		o.SnapLen = 1 << 18
	}
	if o.Limit <= 0 {
		o.Limit = 1 << 20
	}
	if o.Buffer <= 0 {
		o.Buffer = 32 << 20
	}
	if o.GUEPorts == nil {
		o.GUEPorts = []uint16{6080}
	}
	c := &Capture{
		options: o, changed: make(chan struct{}),
		buf: make([]byte, o.SnapLen), oob: make([]byte, 128),
	}
	if err := clock.hold(); err != nil {
		return nil, fmt.Errorf("capture on %s: %w", c, err)
	}
	if err := c.begin(enter); err != nil {
		return nil, fmt.Errorf("capture on %s: %w", c, err)
	}
	c.done.Go(c.read)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release = context.AfterFunc(ctx, func() { _ = c.Stop() }) // the error stays for the owner's Stop
	return c, nil
}

func (c *Capture) begin(enter Enter) error {
	if err := enter.run(c.open); err != nil {
		return err
	}
	if c.options.Live == nil {
		return nil
	}
	if err := c.options.Live.add(c); err != nil {
		return errors.Join(err, c.conn.Close())
	}
	return nil
}

func (c *Capture) open() error {
	ifi, err := net.InterfaceByName(c.options.Interface)
	if err != nil {
		return fmt.Errorf("find interface: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: c.options.BPF})
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	if c.raw, err = conn.SyscallConn(); err != nil {
		return errors.Join(fmt.Errorf("open packet socket: %w", err), conn.Close())
	}
	var prepare error
	err = c.raw.Control(func(fd uintptr) { prepare = c.prepare(int(fd)) })
	if err := errors.Join(err, prepare); err != nil {
		return errors.Join(fmt.Errorf("prepare packet socket: %w", err), conn.Close())
	}
	c.conn = conn
	return nil
}

// prepare asks for the kernel's time stamps and a large queue. Without the
// right to pass net.core.rmem_max the queue is as large as that allows; a
// queue too small shows as drops.
func (c *Capture) prepare(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("set SO_TIMESTAMPNS: %w", err)
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.options.Buffer)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.options.Buffer)
	}
	if err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("read socket's link type: %w", err)
	}
	if ll, ok := sa.(*unix.SockaddrLinklayer); ok {
		c.linkType = ll.Hatype
	}
	return nil
}

// read takes packets as they come, until the socket is closed.
func (c *Capture) read() {
	_ = c.raw.Read(func(fd uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drain(int(fd))
		return false // wait for more
	})
}

// drain empties the socket's queue. It is called with mu held.
func (c *Capture) drain(fd int) {
	before := len(c.frames)
	for !c.stopped {
		n, oobn, _, from, err := unix.Recvmsg(fd, c.buf, c.oob, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			// ENETDOWN: the interface went down or away. Said once; more may come.
			c.err = errors.Join(c.err, fmt.Errorf("read: %w", err))
			break
		}
		c.keep(n, oobn, from)
	}
	if len(c.frames) > before {
		c.wake()
	}
}

func (c *Capture) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Capture) keep(n, oobn int, from unix.Sockaddr) {
	f := Frame{Direction: In, Length: n}
	var ok bool
	if f.Time, ok = stamp(c.oob[:oobn]); !ok {
		f.Time = time.Now() // asked for and never missing, see prepare
	}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
		f.Direction = Out
	}
	f.Data = append([]byte(nil), c.buf[:min(n, len(c.buf))]...)
	if c.options.Live != nil {
		if err := c.options.Live.write(c, f); err != nil {
			c.err = errors.Join(c.err, fmt.Errorf("write live capture: %w", err))
			c.options.Live = nil
		}
	}
	if c.options.Keep != nil && !c.options.Keep(c.decode(f)) {
		return
	}
	if len(c.frames) >= c.options.Limit {
		c.stats.Over++
		return
	}
	c.frames = append(c.frames, f)
}

// stamp reads the kernel's time stamp (SO_TIMESTAMPNS in socket(7)).
func stamp(oob []byte) (at time.Time, ok bool) {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS {
			return timespec(data)
		}
		oob = rest
	}
	return time.Time{}, false
}

// sync takes in what has been seen so far. It is called with mu held.
func (c *Capture) sync() {
	if c.stopped {
		return
	}
	if err := c.raw.Control(func(fd uintptr) { c.drain(int(fd)) }); err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("read: %w", err))
	}
	c.count()
}

// count adds the kernel's counters, which start again at each reading.
func (c *Capture) count() {
	s, err := c.conn.Stats()
	if err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("read counters: %w", err))
		return
	}
	c.stats.Seen += uint64(s.Packets)
	c.stats.Dropped += uint64(s.Drops)
}

// nothing is a filter that refuses every packet.
var nothing = []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}

// Stop ends the capture; what was seen before the call is kept. It fails with
// [ErrLost] when packets were lost on the way, with the kernel's error when
// reading failed, and may be called again for the same answer.
func (c *Capture) Stop() error {
	if c.last() {
		err := c.conn.Close() // without the lock: it waits for the reader, which takes it
		c.mu.Lock()
		c.err = errors.Join(c.err, err)
		c.mu.Unlock()
	}
	c.done.Wait()
	c.mu.Lock()
	err, release := c.failure(), c.release
	c.mu.Unlock()
	release()
	return err
}

// last takes in what has been seen up to now and nothing after it. It tells
// whether this call was the one that ended the capture.
func (c *Capture) last() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return false
	}
	// Without the filter a busy interface would never let the queue run empty.
	if err := c.conn.SetBPF(nothing); err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("stop: %w", err))
	}
	c.sync()
	c.stopped = true
	c.wake()
	return true
}

func (c *Capture) failure() error {
	err := c.err
	if lost := c.stats.Dropped + c.stats.Over; lost > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d of %d (kernel's queue full: %d, beyond the limit of %d: %d)",
			ErrLost, lost, c.stats.Seen, c.stats.Dropped, c.options.Limit, c.stats.Over))
	}
	if err != nil {
		return fmt.Errorf("capture on %s: %w", c, err)
	}
	return nil
}

// String names what is captured: "node:interface".
func (c *Capture) String() string {
	if c.options.Node == "" {
		return c.options.Interface
	}
	return c.options.Node + ":" + c.options.Interface
}
