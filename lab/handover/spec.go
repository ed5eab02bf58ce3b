package handover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/lab/traffic"
)

// Spec says what the client does. Its zero value but To is a hundred new HTTP
// connections a second, for ten seconds, and no stream.
type Spec struct {
	To       netip.AddrPort
	Protocol string        // traffic.HTTP (the default), TCP or UDP
	Streams  int           // kept open from the beginning
	Every    time.Duration // between two requests of a stream; zero: 20 ms
	// Rate is of new connections per second; zero: 100, or none if there are
	// streams; negative: none.
	Rate     float64
	Duration time.Duration // zero: 10 s
	// Timeout is what a new connection has for its answer, and a stream at the
	// end for those that are still to come; zero: 2 s.
	Timeout time.Duration
	Sources []netip.Addr // taken in turn, by new connections and streams
	// Events happen meanwhile, each after the one before is done.
	Events []Event
}

// Event is something that happens while the client runs.
type Event struct {
	At   time.Duration // since the client began, with all its streams open
	Name string
	Do   func(context.Context) error
}

// The bounds on a client: its streams and the requests that it may have sent.
const (
	maxStreams  = 10_000
	maxRate     = 10_000
	maxDuration = time.Hour
	maxRequests = 20_000_000
)

func (s Spec) withDefaults() (Spec, error) {
	if s.Protocol == "" {
		s.Protocol = traffic.HTTP
	}
	if s.Every == 0 {
		s.Every = 20 * time.Millisecond
	}
	if s.Rate == 0 && s.Streams == 0 {
		s.Rate = 100
	}
	s.Rate = max(s.Rate, 0)
	if s.Duration == 0 {
		s.Duration = 10 * time.Second
	}
	if s.Timeout == 0 {
		s.Timeout = 2 * time.Second
	}
	s.Events = slices.Clone(s.Events)
	slices.SortStableFunc(s.Events, func(a, b Event) int { return int(a.At - b.At) })
	return s, s.check()
}

func (s Spec) check() error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf("hand-over: "+format, args...))
		}
	}
	wrong(!slices.Contains([]string{traffic.HTTP, traffic.TCP, traffic.UDP}, s.Protocol), "unknown protocol %q (known: http, tcp, udp)", s.Protocol)
	wrong(!s.To.IsValid() || s.To.Port() == 0, "no address and port to visit")
	wrong(s.Streams < 0 || s.Streams > maxStreams, "%d streams, 0 to %d are possible", s.Streams, maxStreams)
	wrong(s.Rate > maxRate, "%g new connections per second, at most %d are possible", s.Rate, maxRate)
	wrong(s.Every < time.Millisecond, "a request every %v, every 1ms at most", s.Every)
	wrong(s.Duration < 0 || s.Duration > maxDuration, "a duration of %v, at most %v", s.Duration, maxDuration)
	wrong(s.Timeout < 0 || s.Timeout > maxDuration, "a timeout of %v, at most %v", s.Timeout, maxDuration)
	wrong(s.Streams == 0 && s.Rate == 0, "neither streams nor new connections")
	wrong(s.Every > 0 && s.Duration.Seconds()*(float64(s.Streams)/s.Every.Seconds()+s.Rate) > maxRequests,
		"more than %d requests in all; have fewer streams, or a longer time between requests", maxRequests)
	for _, e := range s.Events {
		wrong(e.At < 0 || e.At > s.Duration, "%s at %v, but the client runs from 0s to %v", e.Name, e.At, s.Duration)
	}
	return errors.Join(errs...)
}

// period is the time between two answers if all is well.
func (s Spec) period() time.Duration {
	perSecond := s.Rate
	if s.Streams > 0 {
		perSecond += float64(s.Streams) / s.Every.Seconds()
	}
	return time.Duration(float64(time.Second) / perSecond)
}
