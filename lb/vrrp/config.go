package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// State is one of the three of RFC 9568, section 6.3.
type State uint8

// The states.
const (
	Initialize State = iota // not taking part: not started, stopped, or a link is down
	Backup
	Active
)

// String is the RFC's word in lower case.
func (s State) String() string {
	switch s {
	case Initialize:
		return "initialize"
	case Backup:
		return "backup"
	case Active:
		return "active"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Config describes one VRRP router's part in a group of virtual routers that
// move together. With a single virtual router the group is that of the RFC.
type Config struct {
	Version  uint8         // 2 or 3
	Priority uint8         // 1 to 254, or Owner
	Interval time.Duration // between advertisements
	// NoPreempt leaves the addresses to whoever has them, whatever its priority
	// (Preempt_Mode False, RFC 9568, section 6.1).
	NoPreempt bool
	// PreemptDelay is for how long an Active router of lower priority is left
	// alone, from the start or from when it was first heard (keepalived's preempt_delay).
	PreemptDelay time.Duration
	// StartActive takes the addresses at the start without waiting, as their owner would.
	StartActive bool
	// Refresh is how often an Active router announces its addresses again, though
	// nothing has happened (keepalived's garp_master_refresh); 0: never.
	Refresh time.Duration
	// Password authenticates advertisements of version 2 (RFC 2338, section
	// 5.3.6, type 1); the zero Password: there is no authentication.
	Password Password
	Routers  []Router
}

// Router is one virtual router: the group's part on one network.
type Router struct {
	Name      string // in texts
	VRID      uint8
	Primary   netip.Addr // the source of advertisements, which breaks ties
	Addresses []netip.Addr
}

// Validate reports what can't be.
func (c *Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Version != 2 && c.Version != 3 {
		add("version %d: want 2 or 3", c.Version)
	}
	if c.Priority == Resign {
		add("priority 0 is for resigning: want 1 to 255")
	}
	if len(c.Routers) == 0 {
		add("no virtual router")
	}
	for _, r := range c.Routers {
		advert := Advert{Version: c.Version, VRID: r.VRID, Priority: c.Priority, Interval: c.Interval, Addresses: r.Addresses}
		if _, err := advert.Append(nil, r.Primary, r.Primary); err != nil {
			add("virtual router %d on %s: %w", r.VRID, r.Name, err)
		}
		if r.VRID == 0 {
			add("virtual router on %s: id 0: want 1 to 255", r.Name)
		}
	}
	if c.Password != (Password{}) && c.Version != 2 {
		add("a password: version %d has no authentication, only version 2 has", c.Version)
	}
	if c.Refresh < 0 {
		add("announcements every %v: want 0s (never) or more", c.Refresh)
	}
	if c.PreemptDelay < 0 || c.PreemptDelay > 0 && c.NoPreempt {
		add("preemption after %v, and no preemption: keep one", c.PreemptDelay)
	}
	return errors.Join(errs...)
}

// Skew is Skew_Time: the lower the priority, the longer.
func (c *Config) Skew(interval time.Duration) time.Duration {
	if c.Version == 2 {
		interval = time.Second // RFC 3768, section 6.1
	}
	return time.Duration(256-int(c.Priority)) * interval / 256
}

// ActiveDown is Active_Down_Interval: for how long no advertisement is heard
// before the Active router counts as dead.
func (c *Config) ActiveDown(interval time.Duration) time.Duration {
	return 3*interval + c.Skew(interval)
}
