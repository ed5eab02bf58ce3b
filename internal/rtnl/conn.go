// Package rtnl makes and configures what a node's network stack consists of:
// links, addresses, routes, rules, kernel settings and packet marks.
//
// Changes are built as values ([Request]) and sent many at a time over one
// socket per namespace ([Conn]); the kernel works through such a batch in
// order, in one system call. Reading goes through vishvananda/netlink, wrapped
// so that an interrupted dump is repeated ([Retry]).
//
// Invariants: only NETLINK_ROUTE and, for GUE, NETLINK_GENERIC are ever opened (a
// kernel without XFRM must do); nothing is executed; every kernel setting that
// is written is read back. The package knows nothing of labs and imports
// internal/netns only.
package rtnl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Request is one change, not yet sent. What names it in errors, as in "add
// address 10.0.0.1/24 to eth0".
type Request struct {
	What string
	msg  *nl.NetlinkRequest
}

// A batch stays well under a socket's default buffers: 128 error replies of
// about 1 KiB, 32 KiB of requests.
const (
	batchMessages = 128
	batchBytes    = 32 << 10
)

// Conn is a route netlink socket that lives in one namespace. It is for one
// goroutine at a time; Close it.
type Conn struct {
	fd  int
	seq uint32
}

// Dial opens a socket in the namespace of the calling thread.
func Dial() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink socket: %w", err)
	}
	c := &Conn{fd: fd}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind route netlink socket: %w", err), c.Close())
	}
	// Both are refinements of error replies that kernels before 4.12 lack.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return c, nil
}

// DialIn opens a socket in the namespace given.
func DialIn(ns *netns.NS) (c *Conn, err error) {
	err = ns.Do(func() error {
		c, err = Dial()
		return err
	})
	return c, err
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Apply sends the requests in order. It returns the first failure, with the
// kernel's own explanation where it gives one; requests after it may have been
// carried out. The context is looked at between batches.
func (c *Conn) Apply(ctx context.Context, reqs ...Request) error {
	for len(reqs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := c.batch(reqs)
		if err != nil {
			return err
		}
		reqs = reqs[n:]
	}
	return nil
}

// batch sends as many requests as fit and tells how many these were. Only the
// last asks for an acknowledgement: failures are always reported.
func (c *Conn) batch(reqs []Request) (int, error) {
	first := c.seq + 1
	var buf []byte
	n := 0
	for ; n < len(reqs) && n < batchMessages && len(buf) < batchBytes; n++ {
		c.seq++
		msg := reqs[n].msg
		msg.Seq = c.seq
		msg.Flags &^= unix.NLM_F_ACK
		if n+1 == len(reqs) || n+1 == batchMessages || len(buf)+msgLen(msg) >= batchBytes {
			msg.Flags |= unix.NLM_F_ACK
		}
		buf = append(buf, msg.Serialize()...)
		for len(buf)%unix.NLMSG_ALIGNTO != 0 {
			buf = append(buf, 0)
		}
	}
	if err := c.send(buf); err != nil {
		return 0, fmt.Errorf("%s: %w", reqs[0].What, err)
	}
	seq, err := c.receive(first, c.seq)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", reqs[seq-first].What, err)
	}
	return n, nil
}

// receive reads replies up to the one of request last and returns the first
// failure among them, with the number of the request that failed.
func (c *Conn) receive(first, last uint32) (uint32, error) {
	var failed uint32
	var failure error
	for {
		msgs, err := c.read()
		if err != nil {
			return first, err
		}
		for _, m := range msgs {
			if m.Header.Type != unix.NLMSG_ERROR || m.Header.Seq < first || m.Header.Seq > last {
				continue
			}
			if err := replyError(m); err != nil && failure == nil {
				failed, failure = m.Header.Seq, err
			}
			if m.Header.Seq == last {
				return failed, failure
			}
		}
	}
}

func (c *Conn) send(buf []byte) error {
	if err := unix.Sendto(c.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to the kernel: %w", err)
	}
	return nil
}

// buffers spares the collector: every node has a Conn of its own, for a few messages.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// read receives once. What it returns is valid as long as one likes.
func (c *Conn) read() ([]syscall.NetlinkMessage, error) {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, from, err := unix.Recvfrom(c.fd, buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive from the kernel: %w", err)
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue // only the kernel is believed
		}
		msgs, err := syscall.ParseNetlinkMessage(bytes.Clone(buf[:n]))
		if err != nil {
			return nil, fmt.Errorf("parse the kernel's reply: %w", err)
		}
		return msgs, nil
	}
}

// replyError decodes struct nlmsgerr and the extended acknowledgement's text
// (include/uapi/linux/netlink.h).
func replyError(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return errors.New("the kernel's reply is cut short")
	}
	code := int32(nl.NativeEndian().Uint32(m.Data))
	if code == 0 {
		return nil
	}
	err := unix.Errno(-code)
	rest := m.Data[4:]
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 || len(rest) < unix.SizeofNlMsghdr {
		return err
	}
	skip := unix.SizeofNlMsghdr
	if m.Header.Flags&unix.NLM_F_CAPPED == 0 {
		skip = int(nl.NativeEndian().Uint32(rest))
	}
	if skip > len(rest) {
		return err
	}
	attrs, perr := nl.ParseRouteAttrAsMap(rest[skip:])
	if text, ok := attrs[nl.NLMSGERR_ATTR_MSG]; ok && perr == nil {
		return fmt.Errorf("%w (%s)", err, unix.ByteSliceToString(text.Value))
	}
	return err
}

func msgLen(msg *nl.NetlinkRequest) int {
	n := unix.SizeofNlMsghdr + len(msg.RawData)
	for _, d := range msg.Data {
		n += d.Len()
	}
	return n
}
