package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ipvslab/ipvslab/lb/vrrp"
)

// Group is what a director is told of a failover group; see [vrrp.Config].
type Group struct {
	Name         string        `json:"name"`
	Version      uint8         `json:"version"`
	Priority     uint8         `json:"priority"`
	Interval     time.Duration `json:"interval"`
	NoPreempt    bool          `json:"noPreempt,omitempty"`
	PreemptDelay time.Duration `json:"preemptDelay,omitempty"`
	StartActive  bool          `json:"startActive,omitempty"`
	Refresh      time.Duration `json:"refresh,omitempty"`
	// Password authenticates version 2 (keepalived's auth_type PASS); empty: there
	// is no authentication. Its first 8 bytes count.
	Password string   `json:"password,omitempty"`
	Routers  []Router `json:"routers"`
}

// Router is the group's part on one network, for one family.
type Router struct {
	Network   string `json:"network"` // in texts
	Interface string `json:"interface"`
	ID        uint8  `json:"id"`
	// Addr is the director's own address there. IPv6 advertisements to the
	// multicast group come from the link-local one instead.
	Addr      netip.Addr   `json:"addr"`
	Addresses []netip.Addr `json:"addresses"` // that float, as /32 or /128
	// Peers are the other directors' addresses: advertisements go to them, not to
	// the multicast group, and only theirs are heard.
	Peers []netip.Addr `json:"peers,omitempty"`
}

// Validate reports what can't be.
func (g *Group) Validate() error {
	cfg := g.config()
	errs := []error{cfg.Validate()}
	for _, r := range g.Routers {
		if r.Interface == "" {
			errs = append(errs, fmt.Errorf("virtual router %d on %s has no interface", r.ID, r.Network))
		}
		for _, p := range r.Peers {
			if p.Is4() != r.Addr.Is4() {
				errs = append(errs, fmt.Errorf("virtual router %d on %s: peer %s is of another family than %s", r.ID, r.Network, p, r.Addr))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("failover group %s: %w", g.Name, err)
	}
	return nil
}

// config is the group as the state machine knows it.
func (g *Group) config() vrrp.Config {
	c := vrrp.Config{
		Version: g.Version, Priority: g.Priority, Interval: g.Interval,
		NoPreempt: g.NoPreempt, PreemptDelay: g.PreemptDelay, StartActive: g.StartActive,
		Refresh: g.Refresh, Password: vrrp.PasswordOf(g.Password),
	}
	for _, r := range g.Routers {
		c.Routers = append(c.Routers, vrrp.Router{Name: r.Network, VRID: r.ID, Primary: r.Addr, Addresses: r.Addresses})
	}
	return c
}
