package handover

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipvslab/ipvslab/lab/traffic"
	"golang.org/x/sync/errgroup"
)

// The ends of a stream that are no errno's name.
const (
	endSilent  = "silent"           // requests without an answer, and no word of why
	endClosed  = "closed"           // by the server
	endOther   = "identity changed" // somebody else answers in mid-stream
	endGarbled = "garbled"          // not the answer to what was asked
)

// stream is one connection that is kept open, or the datagrams from one port.
type stream struct {
	conn     net.Conn
	in       *bufio.Reader
	protocol string
	host     string
	identity string

	served []time.Duration // when the answers came, in order
	end    string          // empty: it went on

	// The listener and the sender tell each other, so that neither waits for
	// what won't come.
	last atomic.Int64 // number of the latest request that was answered
	sent atomic.Int64 // all requests; not yet known: -1
}

// past is a deadline that ends what waits. Setting one fails only on a
// connection that is closed, where nothing waits.
var past = time.Unix(1, 0)

// openTimeout is for opening all streams: that is before anything goes wrong.
const openTimeout = 30 * time.Second

// openAtOnce keeps a burst of handshakes below a listener's backlog.
const openAtOnce = 16

func (c *client) openStreams(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(openAtOnce)
	c.streams = make([]*stream, c.Streams)
	for i := range c.streams {
		c.streams[i] = &stream{protocol: c.Protocol, host: c.To.String()}
		group.Go(func() error {
			if err := c.streams[i].open(ctx, c, i); err != nil {
				return fmt.Errorf("open stream %d of %d to %s: %w", i+1, c.Streams, c.To, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (c *client) closeStreams() {
	for _, s := range c.streams {
		if s != nil && s.conn != nil {
			s.conn.Close() // all that was to be heard has been
		}
	}
}

// open connects and has the first request answered, by which the stream knows
// its server.
func (s *stream) open(ctx context.Context, c *client, i int) error {
	network := "tcp"
	var dialer net.Dialer
	if c.Protocol == traffic.UDP {
		network = "udp"
	}
	if len(c.Sources) > 0 {
		source := netip.AddrPortFrom(c.Sources[i%len(c.Sources)], 0)
		dialer.LocalAddr = net.TCPAddrFromAddrPort(source)
		if network == "udp" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(source)
		}
	}
	dial := func() (err error) {
		s.conn, err = dialer.DialContext(ctx, network, c.To.String())
		return err
	}
	var err error
	if c.enter == nil {
		err = dial()
	} else {
		err = c.enter(dial)
	}
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(past) })()
	s.in = bufio.NewReader(s.conn)
	if c.Protocol == traffic.TCP {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read the greeting: %w", err)
		}
		s.identity = line[:len(line)-1]
		return nil
	}
	if _, err := s.conn.Write(s.request(0)); err != nil {
		return err
	}
	_, identity, err := s.answer()
	s.identity = identity
	return err
}

// request is the n-th request.
func (s *stream) request(n int) []byte {
	if s.protocol == traffic.HTTP {
		return fmt.Appendf(nil, "GET /?n=%d HTTP/1.1\r\nHost: %s\r\nUser-Agent: ipvslab\r\n\r\n", n, s.host)
	}
	return fmt.Appendf(nil, "%d\n", n)
}

// errGarbled is an answer that is none.
var errGarbled = errors.New("not an answer of a built-in server")

// answer reads the next answer: the number of its request, -1 if it can't say,
// and who it is from.
func (s *stream) answer() (n int, identity string, err error) {
	switch s.protocol {
	case traffic.HTTP:
		resp, err := http.ReadResponse(s.in, nil)
		if err != nil {
			return 0, "", err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
		return -1, resp.Header.Get(traffic.IdentityHeader), err
	case traffic.UDP:
		var buf [2048]byte
		got, err := s.conn.Read(buf[:])
		if err != nil {
			return 0, "", err
		}
		who, number, _ := bytes.Cut(buf[:got], []byte("\n"))
		n, err := strconv.Atoi(string(bytes.TrimSpace(number)))
		if err != nil {
			return 0, "", errGarbled
		}
		return n, string(who), nil
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return 0, "", err
	}
	if n, err = strconv.Atoi(line[:len(line)-1]); err != nil {
		return 0, "", errGarbled
	}
	return n, s.identity, nil
}

// run sends and listens until the client's time is over and all answers are
// there, or won't come.
func (s *stream) run(ctx context.Context, c *client) {
	over := c.began.Add(c.Duration)
	if s.conn.SetDeadline(over.Add(c.Timeout)) != nil {
		s.end = endClosed
		return
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(past) })()
	s.sent.Store(-1)
	var sending sync.WaitGroup
	sending.Go(func() { s.send(ctx, c, over) })
	for !s.complete() && s.end == "" {
		s.listen(c)
	}
	_ = s.conn.SetWriteDeadline(past)
	sending.Wait()
	if s.protocol == traffic.UDP && s.complete() {
		s.end = "" // those before are lost, but it goes on
	}
}

// complete tells whether the last of all requests was answered.
func (s *stream) complete() bool {
	sent := s.sent.Load()
	return sent >= 0 && s.last.Load() >= sent
}

// send sends a request each time it is due, until the time is over or nothing
// can be sent any more.
func (s *stream) send(ctx context.Context, c *client, over time.Time) {
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	sent := int64(0)
	for more := true; more; {
		select {
		case <-ctx.Done():
			more = false
		case now := <-tick.C:
			if more = now.Before(over); !more {
				break
			}
			sent++
			_, err := s.conn.Write(s.request(int(sent)))
			// A datagram may be refused (ICMP), and the next one not.
			more = err == nil || s.protocol == traffic.UDP && !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
	if s.sent.Store(sent); s.complete() {
		_ = s.conn.SetReadDeadline(past) // nothing more to hear
	}
}

// listen takes one answer.
func (s *stream) listen(c *client) {
	n, identity, err := s.answer()
	switch {
	case err == nil:
		s.took(c, n, identity)
	case errors.Is(err, os.ErrDeadlineExceeded) && s.complete():
	case s.protocol == traffic.UDP && !errors.Is(err, os.ErrDeadlineExceeded):
		// a refusal
	default:
		s.end = endOf(err)
	}
}

// took notes an answer.
func (s *stream) took(c *client, n int, identity string) {
	last := int(s.last.Load())
	if n < 0 {
		n = last + 1
	}
	switch {
	case s.protocol == traffic.UDP:
	case identity != s.identity:
		s.end = endOther
		return
	case n != last+1:
		s.end = endGarbled
		return
	}
	s.identity = identity
	s.served = append(s.served, time.Since(c.began))
	s.last.Store(int64(max(last, n)))
}

// endOf says how a stream ended.
func endOf(err error) string {
	switch outcome, kind := traffic.Classify(err); {
	case errors.Is(err, errGarbled):
		return endGarbled
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return endClosed
	case errors.Is(err, os.ErrDeadlineExceeded), outcome == traffic.TimedOut:
		return endSilent
	case outcome == traffic.Reset:
		return string(traffic.Reset)
	default:
		return kind
	}
}
