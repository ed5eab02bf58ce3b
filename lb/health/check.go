// Package health decides which real servers a director's table holds: what a
// check is, the state machine that makes verdicts of its results, and the
// services that follow from the verdicts (removed or inhibited servers, quorum,
// sorry server). The terms and defaults are keepalived's (keepalived.conf(5), 2.2).
//
// Invariants:
//   - The package is pure: it knows no socket, no clock and no kernel. Time comes
//     in with every call; lb/health/probe does the checks themselves.
//   - The same inputs give the same outputs: chance (the warm-up) comes in too.
//
// It must not import topology, lab, internal or lb/ipvs.
package health

import (
	"slices"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// Kind is what a check speaks.
type Kind string

// The kinds of check.
const (
	TCP     Kind = "tcp"     // the port accepts a connection
	HTTP    Kind = "http"    // a GET is answered with the status and body asked for
	UDP     Kind = "udp"     // a datagram is answered, or at least not refused
	GRPC    Kind = "grpc"    // grpc.health.v1.Health/Check says SERVING
	Command Kind = "command" // a program ends with status 0
)

// The defaults (keepalived.conf(5)): delay_loop, connect_timeout, retry and
// delay_before_retry.
const (
	DefaultInterval  = 60 * time.Second
	DefaultTimeout   = 5 * time.Second
	DefaultFall      = 2 // the failure that is noticed, and one retry
	DefaultRise      = 1
	DefaultDelay     = time.Second
	DefaultHTTPDelay = 3 * time.Second
	DefaultQuorum    = 1
)

// Check is how real servers are checked, with nothing left to be defaulted.
type Check struct {
	Kind Kind `json:"kind"`
	// Port to check; zero: the destination's.
	Port uint16 `json:"port,omitempty"`

	Path   string        `json:"path,omitempty"`   // HTTP
	Status []StatusRange `json:"status,omitempty"` // HTTP: what counts as success
	Body   string        `json:"body,omitempty"`   // HTTP: regular expression (RE2) that the body must match
	Host   string        `json:"host,omitempty"`   // HTTP, GRPC: Host header and TLS server name; empty: the address
	TLS    bool          `json:"tls,omitempty"`    // HTTP, GRPC: over TLS; certificates are not verified, as by keepalived

	Service string   `json:"service,omitempty"` // GRPC: empty is the server as a whole
	Send    string   `json:"send,omitempty"`    // UDP: the datagram
	Expect  string   `json:"expect,omitempty"`  // UDP: what the answer begins with; empty: any answer, or none
	Argv    []string `json:"argv,omitempty"`    // Command

	Interval         time.Duration `json:"interval"` // from the end of a check to the beginning of the next
	Timeout          time.Duration `json:"timeout"`
	DelayBeforeRetry time.Duration `json:"delayBeforeRetry"` // between checks while a verdict is open
	WarmUp           time.Duration `json:"warmUp"`           // the first check comes by chance within this time
	Rise             int           `json:"rise"`             // successes in a row that bring a server up
	Fall             int           `json:"fall"`             // failures in a row that take it down
	Alpha            bool          `json:"alpha,omitempty"`  // down until the first verdict; otherwise up
	Inhibit          bool          `json:"inhibit,omitempty"`
}

// StatusRange is a range of HTTP status codes, inclusive.
type StatusRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// Contains tells whether a status is in the range.
func (r StatusRange) Contains(status int) bool { return r.First <= status && status <= r.Last }

// Service is a service with the check of its real servers.
type Service struct {
	Name string `json:"name"`
	// Spec is the service with all its real servers up.
	Spec  lb.Service `json:"spec"`
	Check *Check     `json:"check,omitempty"` // nil: its real servers are always up
	// Own are the checks of single real servers in Check's place, by index of
	// Spec.Destinations; of several, all must succeed. A server without any,
	// or beyond the list's end, has Check.
	Own [][]Check `json:"own,omitempty"`
	// Quorum is the least sum of weights of servers that are up with which the
	// service works; once lost it is regained at Quorum plus Hysteresis, and
	// once gained it is lost below Quorum less Hysteresis.
	Quorum     int    `json:"quorum,omitempty"`
	Hysteresis int    `json:"hysteresis,omitempty"`
	Sorry      *Sorry `json:"sorry,omitempty"`
	// Target is the address at which clients see the service: the VIP, or
	// the first that gets its firewall mark.
	Target Target `json:"target,omitzero"`
}

// Checks are those of the real server at an index; none: it is always up.
func (s *Service) Checks(i int) []*Check {
	var out []*Check
	if i < len(s.Own) {
		for j := range s.Own[i] {
			out = append(out, &s.Own[i][j])
		}
	}
	if len(out) == 0 && s.Check != nil {
		out = append(out, s.Check)
	}
	return out
}

// Watched tells whether any of its real servers is checked.
func (s *Service) Watched() bool {
	return s.Check != nil || slices.ContainsFunc(s.Own, func(own []Check) bool { return len(own) > 0 })
}

// Target is where clients see a service.
type Target = lb.DestKey

// CommandEnv is the environment in which a command checks a real server.
func CommandEnv(s *Service, d lb.DestKey) []string {
	return []string{
		"IPVSLAB_SERVICE=" + s.Name,
		"IPVSLAB_VIP=" + s.Target.Addr.String(),
		"IPVSLAB_VIP_PORT=" + strconv.Itoa(int(s.Target.Port)),
		"IPVSLAB_REAL_SERVER=" + d.Addr.String(),
		"IPVSLAB_REAL_PORT=" + strconv.Itoa(int(d.Port)),
	}
}

// Sorry is the server that takes a service's connections while it has no quorum.
type Sorry struct {
	lb.Destination
	// Inhibit keeps it in the table with weight 0 while there is a quorum.
	Inhibit bool `json:"inhibit,omitempty"`
}
