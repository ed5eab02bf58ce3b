package ipvsadm

import (
	"errors"
	"strings"
	"syscall"

	"github.com/ipvslab/ipvslab/lb"
)

// messages are libipvs's words for an errno (ipvs_strerror); which of them are
// said depends on the command.
var messages = map[Verb]map[syscall.Errno]string{
	AddService:    {syscall.EEXIST: "Service already exists", syscall.ENOENT: noScheduler},
	EditService:   {syscall.ESRCH: noService, syscall.ENOENT: noScheduler},
	DeleteService: {syscall.ESRCH: noService},
	Zero:          {syscall.ESRCH: noService},
	List:          {syscall.ESRCH: noService},
	Save:          {syscall.ESRCH: noService},
	AddDest:       {syscall.ESRCH: notDefined, syscall.EEXIST: "Destination already exists"},
	EditDest:      {syscall.ESRCH: notDefined, syscall.ENOENT: noDestination},
	DeleteDest:    {syscall.ESRCH: notDefined, syscall.ENOENT: noDestination},
	StartDaemon:   {syscall.EEXIST: "Daemon has already run"},
	StopDaemon:    {syscall.ESRCH: "No daemon is running"},
}

const (
	noService     = "No such service"
	noScheduler   = "Scheduler or persistence engine not found"
	notDefined    = "Service not defined"
	noDestination = "No such destination"
)

// anyMessages are said whatever the command.
var anyMessages = map[syscall.Errno]string{
	syscall.EPERM:        "Permission denied (you must be root)",
	syscall.EINVAL:       "Invalid operation.  Possibly wrong module version, address not unicast, ...",
	syscall.ENOPROTOOPT:  "Protocol not available",
	syscall.ENOMEM:       "Memory allocation problem",
	syscall.EOPNOTSUPP:   "Operation not supported with IPv6",
	syscall.EAFNOSUPPORT: "Operation not supported with specified address family",
	syscall.EMSGSIZE:     "Module is wrong version",
}

// sentinels are the errnos that a table without a kernel would have had.
var sentinels = []struct {
	err   error
	errno syscall.Errno
}{
	{lb.ErrServiceExists, syscall.EEXIST},
	{lb.ErrDestinationExists, syscall.EEXIST},
	{lb.ErrDaemonRunning, syscall.EEXIST},
	{lb.ErrNoService, syscall.ESRCH},
	{lb.ErrNoDaemon, syscall.ESRCH},
	{lb.ErrNoDestination, syscall.ENOENT},
	{lb.ErrNoScheduler, syscall.ENOENT},
	{lb.ErrRange, syscall.ERANGE},
	{lb.ErrInvalid, syscall.EINVAL},
	{lb.ErrFamily, syscall.EAFNOSUPPORT},
	{lb.ErrNoIPVS, syscall.ENOPROTOOPT},
	{lb.ErrNotPermitted, syscall.EPERM},
}

// errnoOf is the errno behind a table's error; false: there is none, the
// table failed in some way of its own.
func errnoOf(err error) (syscall.Errno, bool) {
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return s.errno, true
		}
	}
	var errno syscall.Errno
	return errno, errors.As(err, &errno)
}

// messageFor is what the original says when a command ends in err.
func messageFor(v Verb, err error) string {
	errno, ok := errnoOf(err)
	if !ok {
		return err.Error()
	}
	if m := messages[v][errno]; m != "" {
		return m
	}
	if m := anyMessages[errno]; m != "" {
		return m
	}
	return strerror(errno)
}

// strerror is glibc's: Go's text is the same but for the case of its first letter.
func strerror(errno syscall.Errno) string {
	s := errno.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}
