package traffic

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// CloseMode is how an open connection ends.
type CloseMode string

// The ways to end a connection.
const (
	CloseClient CloseMode = "client" // FIN from the client first
	CloseServer CloseMode = "server" // FIN from the server first: HTTP, and the built-in TCP and SCTP responders
	CloseReset  CloseMode = "reset"  // RST, of SCTP ABORT, from the client (SO_LINGER 0, socket(7))
	// CloseVanish sends nothing at all, like a client that lost its power
	// (TCP_REPAIR, needs CAP_NET_ADMIN). The client's kernel then answers what
	// still comes with RST.
	CloseVanish CloseMode = "vanish"
)

// Spec says what a client does. Its zero value but To is one HTTP request.
type Spec struct {
	Protocol string         `json:"protocol,omitempty"` // HTTP (the default), TCP, UDP or SCTP
	To       netip.AddrPort `json:"to"`

	// Connections is how many to open; zero: one, or as many as fit when Duration is set.
	Connections int `json:"connections,omitempty"`
	// Concurrency is how many may be waiting for their answer at once; zero: one.
	// Held connections don't count.
	Concurrency int           `json:"concurrency,omitempty"`
	Duration    time.Duration `json:"duration,omitempty"` // open none after this; zero: no bound
	Rate        float64       `json:"rate,omitempty"`     // connections opened per second; zero: no bound
	Timeout     time.Duration `json:"timeout,omitempty"`  // of one connection, all its requests; zero: 5 s

	// Hold keeps each answered connection open until the last has been opened.
	Hold  bool      `json:"hold,omitempty"`
	Close CloseMode `json:"close,omitempty"` // empty: CloseClient

	// HalfOpen (TCP) never completes the handshake: a socket filter drops every
	// SYN-ACK before TCP sees it, so that no RST is sent either, and the SYN is
	// sent again as to a dead server. It implies Hold. See [SYN] for one SYN each.
	HalfOpen bool `json:"halfOpen,omitempty"`

	// Sources are taken in turn; port zero lets the kernel choose one. An
	// address must be local to the node: see [PlanSources]. To hold more than
	// 14,000 connections to one destination give several: with half of
	// net.ipv4.ip_local_port_range in use the kernel's search for a free port
	// takes milliseconds (__inet_hash_connect tries one parity first).
	Sources []netip.AddrPort `json:"sources,omitempty"`

	// Requests per connection (HTTP, kept alive) or datagrams (UDP); zero: one.
	Requests int    `json:"requests,omitempty"`
	Path     string `json:"path,omitempty"` // HTTP; empty: "/"
	Payload  []byte `json:"payload,omitempty"`

	// ConnectOnly (TCP, SCTP) takes the handshake for the answer; for servers that
	// don't name themselves.
	ConnectOnly bool `json:"connectOnly,omitempty"`
	// SumsOnly leaves out Result.Connections, and learns no source ports: for
	// load, not for verdicts.
	SumsOnly bool `json:"sumsOnly,omitempty"`

	// Progress is called from the client's goroutine at most five times a second, and at the end.
	Progress func(Progress) `json:"-"`
}

// Progress is how far a client is.
type Progress struct {
	Opened, Done, Answered int
	Total                  int // zero: bounded by time only
	Elapsed                time.Duration
}

// withDefaults checks a spec and fills in what is unset.
func (s Spec) withDefaults() (Spec, error) {
	if s.Protocol == "" {
		s.Protocol = HTTP
	}
	if s.Connections == 0 && s.Duration == 0 {
		s.Connections = 1
	}
	s.Concurrency = max(s.Concurrency, 1)
	s.Requests = max(s.Requests, 1)
	if s.Timeout <= 0 {
		s.Timeout = 5 * time.Second
	}
	if s.Path == "" {
		s.Path = "/"
	}
	if s.Close == "" {
		s.Close = CloseClient
	}
	if len(s.Payload) == 0 {
		s.Payload = []byte("ipvslab\n")
	}
	if s.HalfOpen {
		s.Hold = true
	}
	return s, s.check()
}

func (s Spec) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("traffic: "+format, args...)) }
	switch s.Protocol {
	case HTTP, TCP, UDP, SCTP:
	default:
		wrong("unknown protocol %q (known: %s, %s, %s, %s)", s.Protocol, HTTP, TCP, UDP, SCTP)
	}
	switch s.Close {
	case CloseClient, CloseServer, CloseReset, CloseVanish:
	default:
		wrong("unknown way to close %q (known: client, server, reset, vanish)", s.Close)
	}
	if !s.To.IsValid() || s.To.Port() == 0 {
		wrong("no address and port to visit")
	}
	if s.Connections < 0 || s.Duration < 0 || s.Rate < 0 {
		wrong("negative connections, duration or rate")
	}
	if s.HalfOpen && s.Protocol != TCP {
		wrong("half-open is for tcp, not %s", s.Protocol)
	}
	if s.ConnectOnly && !isStream(s.Protocol) {
		wrong("connect-only is for tcp and sctp, not %s", s.Protocol)
	}
	if s.Protocol == SCTP && s.Close == CloseVanish {
		wrong("sctp can't be closed by %s: its socket always says goodbye", s.Close)
	}
	if s.Protocol == UDP && s.Close != CloseClient {
		wrong("udp can't be closed by %s", s.Close)
	}
	for _, src := range s.Sources {
		if src.Addr().Unmap().Is4() != s.To.Addr().Unmap().Is4() {
			wrong("source %s is not of the family of %s", src, s.To)
			break
		}
	}
	return errors.Join(errs...)
}
