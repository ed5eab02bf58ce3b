// Package probe carries out the checks that lb/health asks for, on real sockets:
// TCP, HTTP and HTTPS, UDP, gRPC's health service, and commands. [Watch] drives
// a health.Monitor by the real clock.
//
// Invariants:
//   - A check ends within its timeout, whatever the server does, and leaves
//     neither socket nor process.
//   - A failure says what was done, what was seen, and what was expected.
//   - Addresses are numbers: nothing is looked up.
//
// It must not import topology, lab, or lb/ipvs.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ipvslab/ipvslab/lb/health"
	"golang.org/x/sys/unix"
)

// Prober does checks in a network namespace. The zero value does them in the
// caller's.
type Prober struct {
	// Enter runs fn, which stays on its goroutine, in the namespace.
	Enter func(fn func() error) error
}

// Check does one check. Nil: the server works.
func (p Prober) Check(ctx context.Context, what health.Probe) error {
	c := what.Check
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("no verdict within %s", c.Timeout))
	defer cancel()
	err := p.check(ctx, c, what)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}

func (p Prober) check(ctx context.Context, c *health.Check, what health.Probe) error {
	switch c.Kind {
	case health.TCP:
		conn, err := p.dial(ctx, "tcp", what)
		if err != nil {
			return err
		}
		return conn.Close()
	case health.HTTP:
		return p.http(ctx, c, what)
	case health.GRPC:
		return p.grpc(ctx, c, what)
	case health.UDP:
		return p.udp(ctx, c, what)
	case health.Command:
		return p.command(ctx, c, what)
	}
	return fmt.Errorf("no check of kind %q", c.Kind)
}

func (p Prober) enter(fn func() error) error {
	if p.Enter == nil {
		return fn()
	}
	return p.Enter(fn)
}

// dial connects to the probe's address.
func (p Prober) dial(ctx context.Context, network string, what health.Probe) (conn net.Conn, err error) {
	d := net.Dialer{FallbackDelay: -1}
	to := netip.AddrPortFrom(what.Address.Addr, what.Address.Port)
	if what.Mark != 0 {
		from, err := p.source(what.Server.Addr)
		if err != nil {
			return nil, err
		}
		d.LocalAddr = local(network, from)
		d.Control = func(_, _ string, raw syscall.RawConn) error { return setMark(raw, what.Mark) }
	}
	err = p.enter(func() error {
		conn, err = d.DialContext(ctx, network, to.String())
		return err
	})
	if err != nil && what.Mark != 0 {
		err = fmt.Errorf("through the table, by mark %d to %s: %w", what.Mark, what.Server.Addr, err)
	}
	return conn, err
}

// source is the director's own address for what it sends to a server. The
// kernel would take the VIP itself, which the server takes for its own.
func (p Prober) source(to netip.Addr) (from netip.Addr, err error) {
	err = p.enter(func() error {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9))) // sends nothing
		if err != nil {
			return fmt.Errorf("find the way to %s: %w", to, err)
		}
		from = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		return conn.Close()
	})
	return from, err
}

func local(network string, from netip.Addr) net.Addr {
	at := netip.AddrPortFrom(from, 0)
	if network == "udp" {
		return net.UDPAddrFromAddrPort(at)
	}
	return net.TCPAddrFromAddrPort(at)
}

// setMark puts a firewall mark on all that a socket sends (socket(7), SO_MARK).
func setMark(raw syscall.RawConn, mark uint32) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	}); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("set firewall mark %d: %w", mark, err)
	}
	return nil
}

// maxDatagram is the largest answer that is looked at.
const maxDatagram = 2048

// udp sends a datagram. Without an expectation only an ICMP error, which the
// kernel reports as ECONNREFUSED and the like, is a failure: silence is none
// (keepalived.conf(5), UDP_CHECK).
func (p Prober) udp(ctx context.Context, c *health.Check, what health.Probe) error {
	conn, err := p.dial(ctx, "udp", what)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // wakes the reader
	defer stop()
	if _, err := conn.Write([]byte(c.Send)); err != nil {
		return err
	}
	answer := make([]byte, maxDatagram)
	n, err := conn.Read(answer)
	switch {
	case err == nil && bytes.HasPrefix(answer[:n], []byte(c.Expect)):
		return nil
	case err == nil:
		return fmt.Errorf("the answer is %q, which does not begin with %q", clip(answer[:n]), c.Expect)
	case c.Expect == "" && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil
	}
	return err
}

// clip is the beginning of an answer, for a message.
func clip(b []byte) []byte {
	const most = 80
	return b[:min(len(b), most)]
}

// command runs a program. It is killed with all that it started.
func (p Prober) command(ctx context.Context, c *health.Check, what health.Probe) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), health.CommandEnv(&what.Service, what.Server.DestKey)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 100 * time.Millisecond // for whoever holds the output though he left the group
	if err := p.enter(cmd.Start); err != nil {
		return err
	}
	err := cmd.Wait()
	if err != nil && out.Len() > 0 {
		last := strings.TrimSpace(out.String())
		return fmt.Errorf("%w: %s", err, last[strings.LastIndexByte(last, '\n')+1:])
	}
	return err
}
