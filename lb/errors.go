package lb

import "errors"

// What a table says when a change or a question can't be answered. A Table
// wraps one of these; the kernel's own errno, where there is one, is in the
// chain too.
var (
	ErrServiceExists     = errors.New("service already exists")
	ErrNoService         = errors.New("no such service")
	ErrDestinationExists = errors.New("destination already exists")
	ErrNoDestination     = errors.New("no such destination")

	// ErrNoScheduler: the kernel has neither the scheduler nor a module of its
	// name; it answers alike for a persistence engine (ip_vs_add_service).
	ErrNoScheduler = errors.New("scheduler or persistence engine not found; load its module (ip_vs_<scheduler>, ip_vs_pe_<engine>) or name another")

	// ErrRange is ERANGE: a negative weight, or a lower threshold above the upper one.
	ErrRange = errors.New("weight or threshold out of range; a weight is at least 0, a lower threshold at most the upper one")

	// ErrInvalid is EINVAL, for which the kernel gives no reason.
	ErrInvalid = errors.New("refused as invalid by the kernel")

	// ErrFamily: IPv6 is not built in, or switched off.
	ErrFamily = errors.New("address family not supported by this kernel; is IPv6 disabled?")

	// ErrDaemonRunning and ErrNoDaemon speak of the sync daemons.
	ErrDaemonRunning = errors.New("sync daemon is running already; stop it first")
	ErrNoDaemon      = errors.New("sync daemon is not running")

	ErrNoIPVS       = errors.New("this kernel has no IPVS; load the module ip_vs, or use a guest kernel that has it")
	ErrNotPermitted = errors.New("not permitted; IPVS needs CAP_NET_ADMIN in the initial user namespace: run as root, or in a guest kernel")
	ErrClosed       = errors.New("table is closed")
)

// ErrUnknown: the kernel's answer did not come in time, so a change may or may
// not have been made.
var ErrUnknown = errors.New("unknown whether it was done")

// ErrNotAsWritten: a change was accepted, yet the table read back differs from it.
var ErrNotAsWritten = errors.New("read back differs from what was written")
