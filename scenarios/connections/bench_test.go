package connections_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
)

// bench is a director with one service, and the account of what was done to it
// and what was seen.
type bench struct {
	*testing.T
	*director.Director
	table   *ipvs.Table
	service lb.Service
	account []string
	v6      bool // clients and the VIP are IPv6, and
	mixed   bool // real servers are IPv4 all the same
}

func newBench(t *testing.T) *bench {
	t.Helper()
	d, err := director.Open()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, Director: d}
	t.Cleanup(func() {
		var errs []error
		if b.table != nil {
			errs = append(errs, b.table.Close())
		}
		b.must(errors.Join(append(errs, d.Close())...))
	})
	b.table, err = ipvs.Open(t.Context(), d.Path())
	b.must(err)
	b.rtnl(func(h *netlink.Handle) error {
		for link, addrs := range ownAddresses {
			l, err := h.LinkByName(link)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				p := netip.PrefixFrom(a, a.BitLen())
				own := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Bits())}, Flags: unix.IFA_F_NODAD}
				if err := h.AddrAdd(l, own); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return b
}

// ownAddresses are the director's, by link: what it sends by itself comes from there.
var ownAddresses = map[string][]netip.Addr{
	"clients": {netip.MustParseAddr("10.97.0.1"), netip.MustParseAddr("fd97::1")},
	"servers": {netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd96::1")},
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v\n%s", err, strings.Join(b.account, "\n"))
	}
}

func (b *bench) note(format string, args ...any) {
	b.account = append(b.account, fmt.Sprintf(format, args...))
}

// set makes a setting of net.ipv4.vs, and sees it read back.
func (b *bench) set(name, value string) {
	b.Helper()
	b.must(b.Set("net.ipv4.vs."+name, value))
}

// read is a setting of net.ipv4.vs.
func (b *bench) read(name string) string {
	b.Helper()
	text, err := b.ReadFile("/proc/sys/net/ipv4/vs/" + name)
	b.must(err)
	return strings.TrimSpace(string(text))
}

// serve makes the bench's service, with that many real servers of weight 1.
func (b *bench) serve(s lb.Service, forward lb.Forward, servers int) {
	b.Helper()
	if s.Protocol == 0 && s.FWMark == 0 {
		s.Protocol = lb.TCP
	}
	if s.FWMark == 0 && !s.Addr.IsValid() {
		s.Addr = b.vip().Addr()
		if s.Port == 0 && s.Timeout == 0 {
			s.Port = 80
		}
		s.Key = lb.AddrKey(s.Protocol, s.Addr, s.Port)
	}
	if s.Scheduler == "" {
		s.Scheduler = "rr"
	}
	b.service = s
	b.apply(lb.Change{Op: lb.AddService, Service: s})
	// The one added last is the first in turn.
	for n := servers; n > 0; n-- {
		b.add(lb.Destination{DestKey: b.server(n), Forward: forward, Weight: 1})
	}
}

func (b *bench) apply(changes ...lb.Change) {
	b.Helper()
	b.must(b.table.Apply(b.Context(), changes...))
}

func (b *bench) add(d lb.Destination) {
	b.Helper()
	b.apply(lb.DestChange(lb.AddDestination, b.service.Key, d))
}

// edit changes real server n as the kernel has it.
func (b *bench) edit(n int, change func(*lb.Destination)) {
	b.Helper()
	d := b.destination(n)
	change(&d)
	b.apply(lb.DestChange(lb.EditDestination, b.service.Key, d))
}

func (b *bench) weigh(n int, weight int32) {
	b.Helper()
	b.edit(n, func(d *lb.Destination) { d.Weight = weight })
	b.note("weight of s%d = %d", n, weight)
}

func (b *bench) remove(n int) {
	b.Helper()
	b.apply(lb.DestChange(lb.DeleteDestination, b.service.Key, b.destination(n)))
	b.note("remove s%d", n)
}

func (b *bench) destination(n int) lb.Destination {
	b.Helper()
	dests, err := b.table.Destinations(b.Context(), b.service.Key)
	b.must(err)
	i := slices.IndexFunc(dests, func(d lb.Destination) bool { return d.Addr == b.server(n).Addr })
	if i < 0 {
		b.Fatalf("no s%d among %v", n, dests)
	}
	return dests[i]
}

// The names in accounts: vip, c1, c2, ... and s1, s2, ...

func (b *bench) vip() netip.AddrPort {
	if b.v6 {
		return netip.MustParseAddrPort("[fd99::1]:80")
	}
	return netip.MustParseAddrPort("10.99.0.1:80")
}

// client n is at 172.16.0.n, port 4000n.
func client(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)}), uint16(40000+n))
}

func (b *bench) client(n int) netip.AddrPort {
	if b.v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfd, 0x16, 14: byte(n >> 8), 15: byte(n)}), uint16(40000+n))
	}
	return client(n)
}

// server n is at 10.98.0.n, port 80; in IPv6 too, unless said otherwise.
func (b *bench) server(n int) lb.DestKey {
	port := uint16(80)
	if b.service.FWMark == 0 && b.service.Port == 0 {
		port = 0
	}
	if b.v6 && !b.mixed {
		return lb.DestKey{Addr: netip.AddrFrom16([16]byte{0xfd, 0x98, 15: byte(n)}), Port: port}
	}
	return lb.DestKey{Addr: netip.AddrFrom4([4]byte{10, 98, 0, byte(n)}), Port: port}
}

func (b *bench) serverEnd(n int) netip.AddrPort {
	return netip.AddrPortFrom(b.server(n).Addr, 80)
}

func (b *bench) protocol() lb.Protocol {
	if b.service.Protocol == 0 {
		return lb.TCP
	}
	return b.service.Protocol
}

// ask sends a packet of client n to the VIP and notes what came of it.
func (b *bench) ask(n int, f director.Flags) {
	b.Helper()
	b.send(director.ClientWire, director.Packet{Protocol: b.protocol(), Src: b.client(n), Dst: b.vip(), Flags: f})
}

// answer sends a packet of real server s to client n.
func (b *bench) answer(s, n int, f director.Flags) {
	b.Helper()
	b.send(director.ServerWire, director.Packet{Protocol: b.protocol(), Src: b.serverEnd(s), Dst: b.client(n), Flags: f})
}

// handshake opens a connection of client n, with real server s behind NAT.
func (b *bench) handshake(n, s int) {
	b.Helper()
	b.ask(n, director.SYN)
	b.answer(s, n, director.SYN|director.ACK)
	b.ask(n, director.ACK)
}

// send sends a packet and notes what came of it.
func (b *bench) send(side director.Side, p director.Packet) {
	b.Helper()
	raw, err := p.Bytes()
	b.must(err)
	b.sendRaw(side, raw)
}

func (b *bench) sendRaw(side director.Side, raw []byte) {
	b.Helper()
	b.must(b.Send(side, raw))
	b.note("%s: %s", b.render(raw), b.seen())
}

// seen renders what is on the wires.
func (b *bench) seen() string {
	b.Helper()
	all, err := b.Drain()
	b.must(err)
	var out []string
	for _, s := range all {
		out = append(out, "to "+string(s.Side)+" "+b.render(s.Data))
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

// entries notes the connection table.
func (b *bench) entries() {
	b.Helper()
	list := b.listEntries()
	if len(list) == 0 {
		list = []string{"none"}
	}
	b.note("entries: %s", strings.Join(list, ", "))
}

func (b *bench) listEntries() []string {
	b.Helper()
	conns, err := b.table.Conns(b.Context())
	b.must(err)
	var out []string
	for _, c := range conns {
		// One that was sent away may be seen once more, beside its successor.
		successor := slices.IndexFunc(conns, func(o lb.Conn) bool {
			return o.Protocol == c.Protocol && o.Client == c.Client && o.Virtual == c.Virtual && o.Expires > c.Expires
		})
		if successor < 0 || c.Expires > 0 {
			out = append(out, b.renderEntry(c))
		}
	}
	slices.Sort(out)
	return out
}

// counters notes the active and inactive connections of each real server.
func (b *bench) counters() {
	b.Helper()
	dests, err := b.table.Destinations(b.Context(), b.service.Key)
	b.must(err)
	slices.Reverse(dests)
	var out []string
	for _, d := range dests {
		text := fmt.Sprintf("%s %d active %d inactive", b.name(netip.AddrPortFrom(d.Addr, 80)), d.Counters.Active, d.Counters.Inactive)
		if d.Counters.Persistent > 0 {
			text += fmt.Sprintf(" %d persistent", d.Counters.Persistent)
		}
		out = append(out, text)
	}
	b.note("counters: %s", strings.Join(out, ", "))
}

// await polls until a condition holds.
func (b *bench) await(what string, within time.Duration, met func() bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-ctx.Done():
			b.Fatalf("%s: not seen within %v\n%s", what, within, strings.Join(b.account, "\n"))
		case <-tick.C:
		}
	}
}

// rtnl runs fn with a route netlink socket of the namespace.
func (b *bench) rtnl(fn func(h *netlink.Handle) error) {
	b.Helper()
	b.must(b.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return fn(h)
	}))
}

// askVIP is ask at another VIP.
func (b *bench) askVIP(n int, vip netip.Addr, f director.Flags) {
	b.Helper()
	b.send(director.ClientWire, director.Packet{Protocol: b.protocol(), Src: b.client(n), Dst: netip.AddrPortFrom(vip, 80), Flags: f})
}

// askFrom is ask from another port of client n.
func (b *bench) askFrom(n int, port uint16, f director.Flags) {
	b.Helper()
	b.send(director.ClientWire, director.Packet{Protocol: b.protocol(), Src: netip.AddrPortFrom(b.client(n).Addr(), port), Dst: b.vip(), Flags: f})
}

// sctp sends a chunk of client n to the VIP, or of real server s to client n.
func (b *bench) sctp(s, n int, c director.Chunk) {
	b.Helper()
	p := director.Packet{Protocol: lb.SCTP, Src: b.client(n), Dst: b.vip(), Chunk: c}
	side := director.ClientWire
	if s > 0 {
		side, p.Src, p.Dst = director.ServerWire, b.serverEnd(s), b.client(n)
	}
	b.send(side, p)
	b.state(n)
}

// state adds client n's entry to the last note.
func (b *bench) state(n int) {
	b.Helper()
	text := "no entry"
	if list := b.only(n); len(list) > 0 {
		_, text, _ = strings.Cut(strings.Join(list, ", "), ">")
	}
	b.account[len(b.account)-1] += "; " + text
}

// asks and answers are ask and answer with the entry's state.

func (b *bench) asks(n int, f director.Flags) {
	b.Helper()
	b.ask(n, f)
	b.state(n)
}

func (b *bench) answers(s, n int, f director.Flags) {
	b.Helper()
	b.answer(s, n, f)
	b.state(n)
}

// awaitNone waits until client n has no entry.
func (b *bench) awaitNone(n int) {
	b.Helper()
	b.await("end of "+b.name(b.client(n))+"'s entry", settleTimeout, func() bool { return len(b.only(n)) == 0 })
}

// quiet sends a packet of client n without a note, and tells whether it came
// to a real server.
func (b *bench) quiet(n int, f director.Flags) bool {
	b.Helper()
	fate, _, err := b.Offer(director.Packet{Protocol: b.protocol(), Src: b.client(n), Dst: b.vip(), Flags: f})
	b.must(err)
	return fate == director.Forwarded
}

// only lists the entries of client n.
func (b *bench) only(n int) []string {
	b.Helper()
	return slices.DeleteFunc(b.listEntries(), func(e string) bool { return !strings.HasPrefix(e, b.name(b.client(n))+">") })
}

// setTimeouts is ipvsadm --set, in seconds.
func (b *bench) setTimeouts(tcp, fin, udp int) {
	b.Helper()
	s := time.Second
	b.must(b.table.SetTimeouts(b.Context(), lb.Timeouts{TCP: time.Duration(tcp) * s, TCPFin: time.Duration(fin) * s, UDP: time.Duration(udp) * s}))
}
