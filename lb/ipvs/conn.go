package ipvs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/mdlayher/socket"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// maxBatch is how many requests go out in one sendmsg. Each may be answered
	// by an error of under 1 KiB of socket memory; all of them together must
	// stay below the default receive buffer of 208 KiB.
	maxBatch = 128
	// receiveBuffer takes the largest skb that a dump fills (netlink_dump: 32 KiB).
	receiveBuffer = 64 << 10
	genlHeader    = 4 // struct genlmsghdr
)

// conn is a generic-netlink socket that knows the family IPVS. Unlike moby's
// it obeys a context's deadline and can send many requests at once. It is for
// one goroutine at a time.
type conn struct {
	sock   *socket.Conn
	raw    syscall.RawConn // of sock
	family int
	seq    uint32
	buf    []byte
	parts  []message // of buf
	// broken: a question was given up half-way. The rest of a dump would block
	// the next one (EBUSY), so the socket has to be replaced.
	broken bool
	ctx    context.Context // of the call that holds the table
}

// tap, if a test has set it, sees all that goes to the kernel.
var tap func(messages []byte)

// bound limits everything until done is called to the life of ctx. A deadline
// set once costs less than a context handed to each send and receive.
func (c *conn) bound(ctx context.Context) (done func()) {
	c.ctx = ctx
	stop := context.AfterFunc(ctx, func() { _ = c.sock.SetDeadline(time.Unix(1, 0)) })
	return func() {
		c.ctx = nil
		if !stop() {
			c.broken = true // its deadline is, or is about to be, in the past
		}
	}
}

// cause says why a send or receive failed: because ctx ended, if it did.
func (c *conn) cause(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	return err
}

// dial opens the socket in the namespace; it stays there.
func dial(ctx context.Context, ns *netns.NS) (*conn, error) {
	var sock *socket.Conn
	err := ns.Do(func() (err error) {
		sock, err = socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC, "ipvs", nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open generic-netlink socket: %w", err)
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open generic-netlink socket: %w", err), sock.Close())
	}
	c := &conn{sock: sock, raw: raw, buf: make([]byte, receiveBuffer)}
	defer c.bound(ctx)()
	if err := c.setup(); err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	return c, nil
}

func (c *conn) setup() error {
	if err := c.sock.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind generic-netlink socket: %w", err)
	}
	// Errors needn't repeat the request.
	if err := c.sock.SetsockoptInt(unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return fmt.Errorf("set NETLINK_CAP_ACK: %w", err)
	}
	c.family = unix.GENL_ID_CTRL
	req := c.request(unix.CTRL_CMD_GETFAMILY, 0)
	req.AddData(nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated("IPVS")))
	replies, err := c.query(req)
	if err != nil {
		return err
	}
	for _, r := range replies {
		id, err := familyID(r)
		if err != nil {
			return err
		}
		c.family = id
	}
	return nil
}

func familyID(reply []byte) (int, error) {
	attrs, err := parseAttrs(reply)
	if err != nil {
		return 0, err
	}
	id, ok := attrs.uint16(unix.CTRL_ATTR_FAMILY_ID)
	if !ok {
		return 0, errors.New("answer about the family IPVS has no id")
	}
	return int(id), nil
}

// request starts a message for the family; flags are added to NLM_F_REQUEST.
func (c *conn) request(cmd uint8, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(c.family, flags)
	req.AddData(genlHdr(cmd))
	return req
}

// genlHdr is struct genlmsghdr, of which only the command varies.
type genlHdr uint8

func (genlHdr) Len() int            { return genlHeader }
func (h genlHdr) Serialize() []byte { return []byte{byte(h), 1, 0, 0} }

// query sends one request and gives what comes back, without headers: one
// answer, or all parts of a dump. A refusal is a unix.Errno.
func (c *conn) query(req *nl.NetlinkRequest) ([][]byte, error) {
	var replies [][]byte
	err := c.each(req, func(payload []byte) error {
		replies = append(replies, bytes.Clone(payload))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return replies, nil
}

// each is query that hands on each part as it comes; it is overwritten
// afterwards. The error of a part ends the handing on, not the receiving.
func (c *conn) each(req *nl.NetlinkRequest, part func(payload []byte) error) error {
	if req.Flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
		req.Flags |= unix.NLM_F_ACK
	}
	if err := c.send(req); err != nil {
		return err
	}
	var failed error
	for {
		messages, err := c.receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch {
			case m.seq != req.Seq: // left over from a question that was given up
			case !m.ends():
				if failed == nil {
					failed = part(m.payload())
				}
			case m.errno() != 0:
				return m.errno()
			default:
				return failed
			}
		}
	}
}

// batch sends requests together and gives an error for each, nil for those
// that were done. Only the last is acknowledged: the kernel works through them
// in order, goes on after a refusal, and answers each refusal at once
// (netlink_rcv_skb), so whatever has no error when the last answer is in has
// succeeded. The second result is set if the outcome is unknown.
func (c *conn) batch(reqs []*nl.NetlinkRequest) ([]error, error) {
	last := reqs[len(reqs)-1]
	last.Flags |= unix.NLM_F_ACK
	if err := c.send(reqs...); err != nil {
		return nil, err
	}
	index := make(map[uint32]int, len(reqs))
	for i, r := range reqs {
		index[r.Seq] = i
	}
	errs := make([]error, len(reqs))
	for {
		messages, err := c.receive()
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			i, ours := index[m.seq]
			if !ours || !m.ends() {
				continue
			}
			if e := m.errno(); e != 0 {
				errs[i] = e
			}
			if m.seq == last.Seq {
				return errs, nil
			}
		}
	}
}

// send numbers the requests and sends them in one go.
func (c *conn) send(reqs ...*nl.NetlinkRequest) error {
	var b []byte
	for _, r := range reqs {
		c.seq++
		r.Seq = c.seq
		b = append(b, r.Serialize()...)
	}
	if tap != nil {
		tap(b)
	}
	var err error
	if len(reqs) == 1 && reqs[0].Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP { // short; writes may take their time
		_, err = c.now(unix.SYS_SENDTO, b, 0) // to the kernel, without an address
	} else {
		err = c.sock.Sendto(context.Background(), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		c.broken = true
		return fmt.Errorf("send to kernel: %w", c.cause(err))
	}
	return nil
}

// receive gives the messages that are there, until the next call.
func (c *conn) receive() ([]message, error) {
	n, err := c.receiveNow()
	if errors.Is(err, unix.EAGAIN) {
		n, _, err = c.sock.Recvfrom(context.Background(), c.buf, unix.MSG_TRUNC)
	}
	if err != nil {
		c.broken = true
		return nil, fmt.Errorf("receive from kernel: %w", c.cause(err))
	}
	if n > len(c.buf) {
		c.broken = true
		return nil, fmt.Errorf("receive from kernel: message of %d bytes is longer than the buffer", n)
	}
	c.parts, err = splitMessages(c.parts[:0], c.buf[:n])
	return c.parts, err
}

func (c *conn) close() error { return c.sock.Close() }
