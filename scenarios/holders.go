package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// watchEvery is how often it is looked who has the floating addresses.
const watchEvery = 10 * time.Millisecond

// watch follows who has the failover groups' addresses, whatever kind the
// directors are: it looks at the addresses in their namespaces.
type watch struct {
	lab    *lab.Lab
	groups []topology.Group
	began  time.Time
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	has     map[string]map[string]bool // by group and director
	dead    map[string]bool            // directors that faults have ended or frozen
	tenures []assertions.Tenure        // the latest of each group is still going on
}

// watchGroups begins to watch.
func (st *stage) watchGroups(ctx context.Context) *watch {
	w := &watch{
		lab: st.lab, groups: st.plan.Failover, began: time.Now(),
		has: map[string]map[string]bool{}, dead: map[string]bool{},
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.refresh()
	members := map[string]bool{}
	for _, g := range w.groups {
		w.has[g.Name] = map[string]bool{}
		for _, m := range g.Members {
			members[m.Node] = true
		}
	}
	for node := range members {
		w.done.Go(func() { w.follow(ctx, node) })
	}
	return w
}

// follow looks at one director's addresses until it is enough.
func (w *watch) follow(ctx context.Context, node string) {
	n, err := w.lab.Node(node)
	if err != nil {
		return // not of this lab: it has no addresses
	}
	ns, err := netns.Open(n.Namespace())
	if err != nil {
		return
	}
	defer ns.Close()
	// A director that can't be looked at has nothing to say; the clients do.
	_ = rtnl.Read(ns, func(h *netlink.Handle) error {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			addrs, err := rtnl.Retry(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
			if err == nil {
				w.saw(node, addrs)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func (w *watch) saw(node string, addrs []netlink.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.groups {
		g := &w.groups[i]
		if !slices.ContainsFunc(g.Members, func(m topology.GroupMember) bool { return m.Node == node }) {
			continue
		}
		if has := hasOf(g, addrs); w.has[g.Name][node] != has {
			w.has[g.Name][node] = has
			w.update(g)
		}
	}
}

// hasOf tells whether one of a group's addresses is among some.
func hasOf(g *topology.Group, addrs []netlink.Addr) bool {
	return slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
		addr, _ := netip.AddrFromSlice(a.IP)
		return slices.ContainsFunc(g.Routers, func(r topology.VirtualRouter) bool {
			return slices.ContainsFunc(r.Addresses, func(f topology.FloatingAddress) bool { return f.Addr == addr.Unmap() })
		})
	})
}

// refresh takes note of which directors faults keep from running.
func (w *watch) refresh() {
	faults, err := w.lab.Faults()
	if err != nil {
		return // the fault itself says so
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.dead)
	for _, f := range faults {
		if f.OnProcess() && f.Process == topology.DirectorProcess {
			w.dead[f.Node] = true
		}
	}
	for i := range w.groups {
		w.update(&w.groups[i])
	}
}

// expect takes note that a director is about to be kept from running: from now
// on it is no matter of its own whether it has the addresses.
func (w *watch) expect(f topology.Fault) {
	ends := f.Do == topology.FaultKill || f.Do == topology.FaultFreeze
	if !ends || f.Process != "" && f.Process != topology.DirectorProcess {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[f.Node] = true
	for i := range w.groups {
		w.update(&w.groups[i])
	}
}

// update begins another tenure if something has changed.
func (w *watch) update(g *topology.Group) {
	now := time.Since(w.began)
	next := assertions.Tenure{Group: g.Name, From: now, To: now}
	for _, m := range g.Members {
		switch {
		case !w.has[g.Name][m.Node]:
		case w.dead[m.Node]:
			next.Dead = append(next.Dead, m.Node)
		default:
			next.Active = append(next.Active, m.Node)
		}
	}
	for i := len(w.tenures) - 1; i >= 0; i-- {
		t := &w.tenures[i]
		if t.Group != g.Name {
			continue
		}
		t.To = now
		if slices.Equal(t.Active, next.Active) && slices.Equal(t.Dead, next.Dead) {
			return
		}
		if t.From == 0 && len(t.Active)+len(t.Dead) == 0 && now < 10*watchEvery {
			*t = next // nobody had been looked at
			t.From = 0
			return
		}
		break
	}
	w.tenures = append(w.tenures, next)
}

// stop ends the watch and tells what it has seen.
func (w *watch) stop() []assertions.Tenure {
	w.cancel()
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.groups {
		w.update(&w.groups[i])
	}
	return w.tenures
}

// holds looks whether a director has a group's addresses now.
func (st *stage) holds(g *topology.Group, node string) (has bool, err error) {
	ns, err := netns.Open(st.node(node).Namespace())
	if err != nil {
		return false, err
	}
	defer ns.Close()
	err = rtnl.Read(ns, func(h *netlink.Handle) error {
		addrs, err := rtnl.Retry(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", node, err)
		}
		has = hasOf(g, addrs)
		return nil
	})
	return has, err
}
