package traffic

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Outcome is what became of a connection.
type Outcome string

// The outcomes.
const (
	Answered Outcome = "answered"
	Refused  Outcome = "refused" // RST to the SYN, or ICMP port unreachable
	TimedOut Outcome = "timeout" // nothing within the connection's time
	Reset    Outcome = "reset"   // RST after the handshake
	Failed   Outcome = "error"   // anything else; the Kind says what
	HalfOpen Outcome = "half-open"
)

// The kinds of error that are no errno's name.
const (
	KindDeadline = "deadline"  // Spec.Timeout is over
	KindCanceled = "canceled"  // the context ended first
	KindEOF      = "EOF"       // closed by the server before the answer was whole
	KindMalform  = "malformed" // an answer that is none
	KindIdentity = "identity changed"
)

// Classify sorts an error into an outcome and a kind. A kernel's error keeps
// its errno's name as its kind: ECONNREFUSED, ETIMEDOUT, ECONNRESET, EPIPE,
// EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL (source address not local, or its
// ports used up), EADDRINUSE.
func Classify(err error) (Outcome, string) {
	var errno unix.Errno
	switch {
	case err == nil:
		return Answered, ""
	case errors.As(err, &errno):
		return classifyErrno(errno), unix.ErrnoName(errno)
	case errors.Is(err, context.Canceled):
		return Failed, KindCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut, KindDeadline
	}
	return Failed, strings.TrimSpace(err.Error())
}

func classifyErrno(errno unix.Errno) Outcome {
	switch errno {
	case unix.ECONNREFUSED:
		return Refused
	case unix.ETIMEDOUT:
		return TimedOut
	case unix.ECONNRESET, unix.EPIPE:
		return Reset
	}
	return Failed
}
