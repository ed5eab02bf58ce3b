package story

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ipvslab/ipvslab/lab/capture"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

func cause(ctx context.Context, t *teller) error {
	c := t.cast
	for _, r := range c.reals {
		if err := t.wayBack(r.name, c.backupInside); err != nil {
			return err
		}
	}
	set, err := t.listen(ctx)
	if err != nil {
		return err
	}
	t.command(c.client, "curl --max-time 1 http://"+c.vip.String()+"/     # while the master, a real server's wire and the client are captured")
	_, err = t.visit(ctx, traffic.Spec{To: c.vip, Timeout: time.Second})
	if err := errors.Join(err, set.Stop()); err != nil {
		return err
	}
	return t.verdict(set)
}

// wayBack shows which way a real server's packets to the client go.
func (t *teller) wayBack(node string, want netip.Addr) error {
	n, err := t.lab.Node(node)
	if err != nil {
		return err
	}
	t.command(node, "ip route get "+t.cast.clientIP.String())
	r, err := n.RouteTo(t.cast.clientIP)
	if err != nil {
		return err
	}
	t.result(fmt.Sprintf("%s via %s dev %s src %s", t.cast.clientIP, r.Via, r.Device, r.Source))
	if r.Via != want {
		return notSeen("%s to reach the client via %s, it does via %s", node, want, r.Via)
	}
	return nil
}

// listen captures at the master's inside interface, at the real servers and at the client.
func (t *teller) listen(ctx context.Context) (capture.Set, error) {
	var points []capture.Point
	add := func(name, iface string) error {
		node, err := t.lab.Node(name)
		if err != nil {
			return err
		}
		if iface == "" {
			iface = node.Plan().Interfaces[0].Name
		}
		points = append(points, capture.Point{Enter: node.Do, Options: capture.Options{Node: name, Interface: iface}})
		return nil
	}
	err := errors.Join(add(t.cast.client, ""), add(t.cast.master, t.cast.masterIface))
	for _, r := range t.cast.reals {
		err = errors.Join(err, add(r.name, ""))
	}
	if err != nil {
		return nil, err
	}
	return capture.StartAll(ctx, points...)
}

// verdict reads the captures: the SYN went through the master, the answer did not.
func (t *teller) verdict(set capture.Set) error {
	c := t.cast
	isReal := func(a netip.AddrPort) bool { return a == c.reals[0].addr || a == c.reals[1].addr }
	syn := func(p capture.Packet) bool { return p.IsSYN() && isReal(p.Destination()) }
	synack := func(p capture.Packet) bool { return p.IsSYNACK() && isReal(p.Source()) }
	at := func(node string, want func(capture.Packet) bool) []capture.Packet {
		return set.Find(func(p capture.Packet) bool { return p.Node == node && want(p) })
	}
	passed := at(c.master, syn)
	answered := set.Find(func(p capture.Packet) bool {
		return synack(p) && (p.Node == c.reals[0].name || p.Node == c.reals[1].name)
	})
	arrived := at(c.client, synack)
	for _, seen := range []struct {
		packets []capture.Packet
		what    string
	}{
		{passed, "the SYN to pass the master, rewritten to a real server"},
		{answered, "a real server to answer with its own address"},
		{arrived, "that answer to reach the client"},
	} {
		if len(seen.packets) == 0 {
			return notSeen("%s", seen.what)
		}
		t.result("  " + seen.packets[0].String())
	}
	if back := at(c.master, synack); len(back) > 0 {
		return notSeen("no answer to come back through the master, got %v", back[0])
	}
	t.result(fmt.Sprintf("  (no answer on %s's inside interface)", c.master))
	t.why(fmt.Sprintf("The answer comes from %s, but the client asked %s: it knows no such connection and answers with a reset. "+
		"Only the master could have put the VIP back as source, and the real servers' gateway is not the master.",
		arrived[0].Source(), c.vip))
	return nil
}
