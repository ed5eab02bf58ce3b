package lb

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Table is the IPVS table of one network namespace. lb/ipvs implements it on
// the kernel, lb/lbtest in memory; both pass lbtest.Conformance. It is safe
// for use by several goroutines.
type Table interface {
	// List reads every service with its destinations. The services come in the
	// table's own order, the destinations oldest first, as they would have to
	// be added to get the same table (the kernel's own list is the reverse).
	// It is no snapshot: the kernel may change between two messages.
	List(ctx context.Context) ([]Service, error)

	// Get reads one service with its destinations; ErrNoService if it is missing.
	Get(ctx context.Context, k Key) (Service, error)

	// Destinations reads the destinations of one service, oldest first;
	// ErrNoService if it is missing.
	Destinations(ctx context.Context, k Key) ([]Destination, error)

	// Apply makes the changes in order and goes on after one that fails. Every
	// change that was not made, or whose fate is unknown because ctx ended
	// (ErrUnknown), is a *ChangeError in the joined error; any other error means
	// that nothing was done at all. It reads nothing back; Controller does.
	Apply(ctx context.Context, changes ...Change) error

	// Zero resets the statistics of the named services and their destinations;
	// without keys, of all services, and the namespace's totals.
	Zero(ctx context.Context, keys ...Key) error

	Info(ctx context.Context) (Info, error)
	Timeouts(ctx context.Context) (Timeouts, error)
	// SetTimeouts sets those that are not zero.
	SetTimeouts(ctx context.Context, t Timeouts) error

	// Daemons lists the sync daemons that run, the master first.
	Daemons(ctx context.Context) ([]SyncDaemon, error)
	// StartDaemon starts one; ErrDaemonRunning if that role runs already.
	StartDaemon(ctx context.Context, d SyncDaemon) error
	// StopDaemon stops the one of a role; ErrNoDaemon if there is none.
	StopDaemon(ctx context.Context, r SyncRole) error

	Close() error
}

// Info is what IPVS says about itself.
type Info struct {
	Version       uint32 // 0xMMmmpp, 0x010201 for 1.2.1
	ConnTableSize uint32 // hash buckets of the connection table
}

// VersionString is the version as ipvsadm prints it, such as "1.2.1".
func (i Info) VersionString() string {
	return fmt.Sprintf("%d.%d.%d", i.Version>>16&0xff, i.Version>>8&0xff, i.Version&0xff)
}

// Timeouts are those of connections that a namespace can set as a whole
// (ipvsadm --set): TCP in state ESTABLISHED, TCP in FIN_WAIT, and UDP. Whole seconds.
type Timeouts struct {
	TCP, TCPFin, UDP time.Duration
}

// SyncRole is the side a sync daemon takes (IP_VS_STATE_*).
type SyncRole uint8

// The roles; both may run in one namespace.
const (
	SyncMaster SyncRole = 1
	SyncBackup SyncRole = 2
)

// String is ipvsadm's word.
func (r SyncRole) String() string {
	switch r {
	case SyncMaster:
		return "master"
	case SyncBackup:
		return "backup"
	}
	return fmt.Sprintf("SyncRole(%d)", uint8(r))
}

// SyncDaemon is a daemon that sends connection entries to, or receives them
// from, another director. Zero fields other than Role take the kernel's
// defaults (net/netfilter/ipvs/ip_vs_sync.c), which Daemons then reports.
type SyncDaemon struct {
	Role      SyncRole
	Interface string
	ID        uint32     // 0 to 255; a backup with 0 takes any
	MaxLen    uint16     // of a message's payload, in bytes; a backup takes at least 1024; default: what the interface's MTU allows
	Group     netip.Addr // multicast; default 224.0.0.81
	Port      uint16     // default 8848
	TTL       uint8      // default 1
}
