package story

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
)

// visitors is how many clients stay connected at the end of the story.
const visitors = 6

func mend(ctx context.Context, t *teller) error {
	c := t.cast
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	for _, r := range c.reals {
		node, err := t.lab.Node(r.name)
		if err != nil {
			return err
		}
		t.command(r.name, "ip route replace default via "+c.inside.String())
		if err := node.ReplaceRoute(everywhere, c.inside); err != nil {
			return err
		}
		if err := t.wayBack(r.name, c.inside); err != nil {
			return err
		}
	}
	return t.alternate(ctx)
}

// alternate lets visitors come and stay: wlc counts those who are there.
func (t *teller) alternate(ctx context.Context) (err error) {
	c := t.cast
	client, err := t.lab.Node(c.client)
	if err != nil {
		return err
	}
	t.say("Six visitors, one after the other, each of whom stays (HTTP keep-alive):")
	session, err := traffic.NewSession(client.Do, traffic.Spec{To: c.vip, Hold: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	t.command(c.client, "curl http://"+c.vip.String()+"/     # six times")
	conns, err := session.Open(ctx, visitors)
	if err != nil {
		return err
	}
	var names []string
	for i, conn := range conns {
		names = append(names, conn.Identity)
		if conn.Outcome != traffic.Answered {
			return notSeen("every request to be answered, number %d: %s %s", i+1, conn.Outcome, conn.Kind)
		}
		if i > 0 && names[i] == names[i-1] {
			return notSeen("the real servers to take turns, got %s", strings.Join(names, " "))
		}
	}
	t.result(strings.Join(names, "\n"))
	if err := t.freshStats(ctx); err != nil {
		return err
	}
	for _, line := range []string{"ipvsadm -Ln", "ipvsadm -Lnc", "ipvsadm -Ln --stats"} {
		if _, err := t.must(ctx, line); err != nil {
			return err
		}
	}
	entries, err := t.conns(ctx)
	if err != nil {
		return err
	}
	established := 0
	for _, e := range entries {
		if e.State == "ESTABLISHED" {
			established++
		}
	}
	if established != visitors {
		return notSeen("%d entries in ESTABLISHED, got %d of %d", visitors, established, len(entries))
	}
	t.why("Two rewrites now happen in one place: the VIP becomes a real server on the way in, and the real server the VIP on the way out. " +
		"The kernel renews --stats every 2 seconds.")
	return nil
}

// freshStats waits until the kernel's statistics show the answers.
func (t *teller) freshStats(ctx context.Context) (err error) {
	node, err := t.lab.Node(t.cast.master)
	if err != nil {
		return err
	}
	table, err := node.Table(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		s, err := table.Get(ctx, lb.AddrKey(lb.TCP, t.cast.vip.Addr(), t.cast.vip.Port()))
		if err != nil {
			return err
		}
		if s.Counters.Conns >= visitors && s.Counters.OutPkts >= visitors {
			return nil
		}
		select {
		case <-ctx.Done():
			return notSeen("the statistics to show %d connections and their answers, got %+v", visitors, s.Counters)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
