package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/vrrp/wire"
)

// Config is what an embedded director is told. It is read from a file as JSON.
type Config struct {
	// Node names the director in events.
	Node string `json:"node"`
	// Namespace is the path of the network namespace to work in, such as
	// /run/netns/NAME; empty: that of the process.
	Namespace string `json:"namespace,omitempty"`
	// Control is the path of the control socket; empty: there is none.
	Control string `json:"control,omitempty"`
	// Memory is the path of a file in which the director notes which services are
	// its own, for the case that it is killed; empty: it notes nothing, and one
	// that follows it knows only what it is told itself.
	Memory string `json:"memory,omitempty"`
	// Services are the virtual services that the table is to hold, in order.
	Services []Service `json:"services,omitempty"`
	// Groups are the failover groups that the director is in.
	Groups []Group `json:"groups,omitempty"`
	// Clear takes the services out of the table on a clean stop; they stay
	// otherwise, and connections go on.
	Clear bool `json:"clear,omitempty"`
}

// Service is a virtual service with what a director needs to know beside the
// table's entry.
type Service struct {
	Name string     `json:"name"`
	Spec lb.Service `json:"spec"`
	// RealServers names the node behind each of Spec.Destinations, by index; it
	// may be empty.
	RealServers []string `json:"realServers,omitempty"`
	// Check, Own, Quorum, Hysteresis, Sorry and Target are those of health.Service;
	// without a check the real servers are always up.
	Check      *health.Check    `json:"check,omitempty"`
	Own        [][]health.Check `json:"own,omitempty"`
	Quorum     int              `json:"quorum,omitempty"`
	Hysteresis int              `json:"hysteresis,omitempty"`
	Sorry      *health.Sorry    `json:"sorry,omitempty"`
	Target     health.Target    `json:"target,omitzero"`
}

// Group is a failover group, and the connection synchronisation that goes with it.
type Group struct {
	wire.Group
	Sync *Sync `json:"sync,omitempty"`
}

// SyncMode says which of the kernel's sync daemons run when.
type SyncMode string

// The modes.
const (
	SyncFollow SyncMode = "follow" // master daemon while active, backup daemon otherwise
	SyncBoth   SyncMode = "both"   // both, always
)

// Sync is connection synchronisation; a director is told it in one group at most.
type Sync struct {
	Mode      SyncMode `json:"mode"`
	ID        uint8    `json:"id"` // the same on all directors; 0 takes any
	Interface string   `json:"interface"`
}

// ReadConfig reads a configuration file. Unknown keys are mistakes.
func ReadConfig(path string) (Config, error) {
	var c Config
	data, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read director's configuration: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("read director's configuration %s: %w", path, err)
	}
	return c, c.Validate()
}

// Validate reports everything that makes a configuration impossible.
func (c *Config) Validate() error {
	var errs []error
	if c.Node == "" {
		errs = append(errs, errors.New("node has no name"))
	}
	seen, names := map[lb.Key]string{}, map[string]bool{}
	for _, s := range c.Services {
		if err := s.Spec.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", s.Name, err))
		}
		if other, ok := seen[s.Spec.Key]; ok {
			errs = append(errs, fmt.Errorf("services %s and %s are both %s", other, s.Name, s.Spec.Key))
		}
		seen[s.Spec.Key] = s.Name
		if names[s.Name] {
			errs = append(errs, fmt.Errorf("two services are called %s", s.Name))
		}
		names[s.Name] = true
		if len(s.Own) > len(s.Spec.Destinations) {
			errs = append(errs, fmt.Errorf("service %s: checks of %d real servers, and there are %d", s.Name, len(s.Own), len(s.Spec.Destinations)))
		}
		if n := len(s.RealServers); n != 0 && n != len(s.Spec.Destinations) {
			errs = append(errs, fmt.Errorf("service %s: %d names for %d real servers", s.Name, n, len(s.Spec.Destinations)))
		}
	}
	errs = append(errs, c.validateGroups()...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("director's configuration: %w", err)
	}
	return nil
}

func (c *Config) validateGroups() (errs []error) {
	names, syncs := map[string]bool{}, 0
	for i := range c.Groups {
		g := &c.Groups[i]
		if names[g.Name] {
			errs = append(errs, fmt.Errorf("failover group %s is there twice", g.Name))
		}
		names[g.Name] = true
		if err := g.Validate(); err != nil {
			errs = append(errs, err)
		}
		if g.Sync == nil {
			continue
		}
		if syncs++; syncs > 1 {
			errs = append(errs, fmt.Errorf("failover group %s: a director has one pair of sync daemons, and another group uses it", g.Name))
		}
		if m := g.Sync.Mode; m != SyncFollow && m != SyncBoth || g.Sync.Interface == "" {
			errs = append(errs, fmt.Errorf("failover group %s: sync mode %q on %q: want follow or both, and an interface", g.Name, m, g.Sync.Interface))
		}
	}
	return errs
}
