package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/poll"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/embedded"
	"github.com/ipvslab/ipvslab/lb/vrrp"
	"github.com/ipvslab/ipvslab/lb/vrrp/wire"
	"github.com/ipvslab/ipvslab/topology"
)

// inGroup tells whether a node is a director of a failover group.
func inGroup(plan *topology.Plan, node string) bool {
	return slices.ContainsFunc(plan.Failover, func(g topology.Group) bool { return memberOf(&g, node) >= 0 })
}

func memberOf(g *topology.Group, node string) int {
	return slices.IndexFunc(g.Members, func(m topology.GroupMember) bool { return m.Node == node })
}

// keepalivedGlobals are the global definitions that go with the groups: the
// sync daemon can follow one instance only.
func keepalivedGlobals(w io.Writer, plan *topology.Plan, node string) {
	for i := range plan.Failover {
		g := &plan.Failover[i]
		at := memberOf(g, node)
		if at < 0 || g.Sync == nil || len(g.Routers) == 0 {
			continue
		}
		fmt.Fprintf(w, "    lvs_sync_daemon %s %s id %d\n", g.Sync.Interfaces[at], instanceName(g, &g.Routers[0]), g.Sync.ID)
		return
	}
}

// keepalivedGroups writes the VRRP part of a configuration.
func keepalivedGroups(w io.Writer, plan *topology.Plan, node string) {
	for i := range plan.Failover {
		g := &plan.Failover[i]
		at := memberOf(g, node)
		if at < 0 {
			continue
		}
		if len(g.Routers) > 1 {
			fmt.Fprintf(w, "vrrp_sync_group %s {\n    group {\n", g.Name)
			for j := range g.Routers {
				fmt.Fprintf(w, "        %s\n", instanceName(g, &g.Routers[j]))
			}
			fmt.Fprint(w, "    }\n}\n\n")
		}
		for j := range g.Routers {
			keepalivedInstance(w, g, &g.Routers[j], at)
		}
	}
}

func instanceName(g *topology.Group, r *topology.VirtualRouter) string {
	return fmt.Sprintf("%s-%s-ipv%d", g.Name, r.Network, r.Family)
}

// keepalivedInstance writes one virtual router, as the at-th member sees it.
func keepalivedInstance(w io.Writer, g *topology.Group, r *topology.VirtualRouter, at int) {
	f := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	f("vrrp_instance %s {", instanceName(g, r))
	state := "BACKUP"
	if g.StartActive && at == 0 {
		state = "MASTER"
	}
	f("    state %s", state)
	f("    version %d", g.Version)
	f("    interface %s", r.Ends[at].Interface)
	f("    virtual_router_id %d", r.ID)
	f("    priority %d", g.Members[at].Priority)
	f("    advert_int %s", seconds(g.Interval))
	if !g.Preempt {
		f("    nopreempt")
	}
	f("    higher_prio_send_advert") // or a split brain that has healed goes on in neighbours' tables
	if g.Refresh > 0 {
		f("    garp_master_refresh %d", wholeSeconds(g.Refresh))
	}
	if g.Password != "" {
		f("    authentication {\n        auth_type PASS\n        auth_pass %s\n    }", g.Password[:min(len(g.Password), vrrp.MaxPassword)])
	}
	if g.PreemptDelay > 0 {
		f("    preempt_delay %s", seconds(g.PreemptDelay))
	}
	switch {
	case g.Unicast:
		f("    unicast_src_ip %s", r.Ends[at].Addr)
		f("    unicast_peer {")
		for i, end := range r.Ends {
			if i != at {
				f("        %s", end.Addr)
			}
		}
		f("    }")
	case r.Family == lb.IPv4:
		f("    mcast_src_ip %s", r.Ends[at].Addr)
	}
	f("    virtual_ipaddress {")
	for _, a := range r.Addresses {
		f("        %s dev %s", netip.PrefixFrom(a.Addr, a.Addr.BitLen()), r.Ends[at].Interface)
	}
	f("    }\n}\n")
}

// embeddedGroup is a failover group as an embedded director, its at-th member, is told it.
func embeddedGroup(g *topology.Group, at int) embedded.Group {
	out := embedded.Group{Group: wire.Group{
		Name: g.Name, Version: uint8(g.Version), Priority: g.Members[at].Priority, Interval: g.Interval,
		NoPreempt: !g.Preempt, PreemptDelay: g.PreemptDelay, StartActive: g.StartActive && at == 0,
		Refresh: g.Refresh, Password: g.Password,
	}}
	for _, r := range g.Routers {
		router := wire.Router{Network: r.Network, Interface: r.Ends[at].Interface, ID: r.ID, Addr: r.Ends[at].Addr}
		for _, a := range r.Addresses {
			router.Addresses = append(router.Addresses, a.Addr)
		}
		for i, end := range r.Ends {
			if g.Unicast && i != at {
				router.Peers = append(router.Peers, end.Addr)
			}
		}
		out.Routers = append(out.Routers, router)
	}
	if s := g.Sync; s != nil {
		out.Sync = &embedded.Sync{Mode: embedded.SyncMode(s.Mode), ID: s.ID, Interface: s.Interfaces[at]}
	}
	return out
}

// seconds is a time span as keepalived reads it.
func seconds(t time.Duration) string { return strconv.FormatFloat(t.Seconds(), 'f', -1, 64) }

// wholeSeconds rounds up: keepalived knows no parts of a second there.
func wholeSeconds(t time.Duration) int { return int((t + time.Second - 1) / time.Second) }

// awaitGroups waits until the addresses of every failover group are somewhere.
func (b *builder) awaitGroups(ctx context.Context) error {
	for i := range b.plan.Failover {
		if err := b.awaitGroup(ctx, &b.plan.Failover[i]); err != nil {
			return fmt.Errorf("failover group %s: %w", b.plan.Failover[i].Name, err)
		}
	}
	return nil
}

// awaitGroup waits longer than an election takes: three intervals and the skew
// (RFC 9568, section 6.1), and however long preemption is delayed.
func (b *builder) awaitGroup(ctx context.Context, g *topology.Group) error {
	within := readyWithin + 4*g.Interval
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no director has taken its addresses within %s", within))
	defer cancel()
	pace := poll.Start()
	for {
		holder, err := b.Holder(g.Name)
		if err != nil || holder != "" {
			return err
		}
		select {
		case <-ctx.Done():
			return b.groupless(g, context.Cause(ctx))
		case <-pace.Again():
		}
	}
}

// Holder is the first of a failover group's Holders; empty if there is none.
func (l *Lab) Holder(group string) (string, error) {
	holders, err := l.Holders(group)
	if len(holders) == 0 {
		return "", err
	}
	return holders[0], err
}

// Holders are the directors that have all of a failover group's addresses in
// their kernels, the preferred one first. More than one is a split brain, or
// one of them was killed or frozen.
func (l *Lab) Holders(group string) (holders []string, err error) {
	at := slices.IndexFunc(l.plan.Failover, func(g topology.Group) bool { return g.Name == group })
	if at < 0 {
		return nil, fmt.Errorf("lab %s has no failover group %q", l.plan.Name, group)
	}
	g := &l.plan.Failover[at]
	for _, m := range g.Members {
		node, err := l.Node(m.Node)
		if err != nil {
			return nil, err
		}
		have, err := node.addresses()
		if err != nil {
			return nil, fmt.Errorf("read addresses of node %s: %w", m.Node, err)
		}
		if holdsAll(have, g) {
			holders = append(holders, m.Node)
		}
	}
	return holders, nil
}

func holdsAll(have map[netip.Addr]bool, g *topology.Group) bool {
	for _, r := range g.Routers {
		for _, a := range r.Addresses {
			if !have[a.Addr] {
				return false
			}
		}
	}
	return true
}

// addresses are what the kernel has in the node.
func (n *Node) addresses() (map[netip.Addr]bool, error) {
	have := map[netip.Addr]bool{}
	err := n.Do(func() error {
		addrs, err := net.InterfaceAddrs()
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				have[prefix.Addr()] = true
			}
		}
		return err
	})
	return have, err
}

// groupless says why a failover group has no active director: what each has of
// its addresses, and the end of the first one's log.
func (b *builder) groupless(g *topology.Group, cause error) error {
	var lines []string
	for _, m := range g.Members {
		node, err := b.Node(m.Node)
		if err != nil {
			return err
		}
		have, err := node.addresses()
		if err != nil {
			return fmt.Errorf("read addresses of node %s: %w", m.Node, err)
		}
		has, lacks := []string{}, []string{}
		for _, r := range g.Routers {
			for _, a := range r.Addresses {
				if have[a.Addr] {
					has = append(has, a.Addr.String())
				} else {
					lacks = append(lacks, a.Addr.String())
				}
			}
		}
		line := fmt.Sprintf("director %s lacks %s", m.Node, strings.Join(lacks, ", "))
		if len(has) > 0 {
			line += ", and has " + strings.Join(has, ", ")
		}
		lines = append(lines, line)
	}
	log := filepath.Join(directorDir(b.dir, g.Members[0].Node), directorLog)
	return fmt.Errorf("%w: one must have all of them:\n%s\nthe end of the log of director %s:\n%s",
		cause, indent(strings.Join(lines, "\n")), g.Members[0].Node, logTail(log))
}
