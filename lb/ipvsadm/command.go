package ipvsadm

import "github.com/ipvslab/ipvslab/lb"

// Command is a command line, understood: what to do, and with what.
type Command struct {
	Verb Verb

	Service    lb.Service // the virtual service, without destinations; for a listing or zeroing only its Key
	HasService bool       // a virtual service was named
	Dest       lb.Destination

	Subject  Subject // of a listing
	Format   Format
	Timeouts lb.Timeouts
	Daemon   lb.SyncDaemon
	File     string // of Check: the rules file, empty for standard input
	Checked  bool   // of Restore: validate all lines before the first is carried out (ours)
}

// Subject is what a listing is about.
type Subject uint8

// The subjects.
const (
	OfServices Subject = iota
	OfConnections
	OfTimeouts
	OfDaemons
)

// Format is how a listing looks. Of the views, the first that is set in the
// order Stats, Rate, Thresholds, PersistentConn, TunInfo decides.
type Format struct {
	Numeric        bool
	Rule           bool // as commands: -S
	Stats          bool
	Rate           bool
	Thresholds     bool
	PersistentConn bool
	TunInfo        bool
	NoSort         bool
	Exact          bool // no K, M, G, T
}
