package oracle

import (
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// table is what a scheduler sees of its service.
type table struct {
	dests   []*dest // newest first, as ip_vs_ctl.c adds at the list's head
	flags   lb.Flags
	family  lb.Family
	variant Variant
	now     time.Duration
	random  func(n int) int // uniform in [0, n); twos only
}

// scheduler is struct ip_vs_scheduler (include/net/ip_vs.h).
type scheduler interface {
	// changed is called after every add, edit and removal, and once at the
	// start with a change of kind bound.
	changed(*table, change)
	// pick is the schedule operation; nil is "no destination available".
	pick(*table, Conn) *dest
}

// holder is a scheduler that keeps destinations alive after their removal.
type holder interface{ holds(*dest) bool }

type changeKind int

const (
	bound changeKind = iota // the scheduler was bound to the service (init_service)
	added
	edited
	removed
)

// change is one change of the destination list.
type change struct {
	kind changeKind
	dest *dest
	prev *dest // removed only: the one before it in the list; nil: the list's head
}

// schedulers are the makers of all models, by the kernel's name.
var schedulers = map[string]func() scheduler{
	"rr":    func() scheduler { return &roundRobin{} },
	"wrr":   func() scheduler { return &weightedRoundRobin{} },
	"lc":    func() scheduler { return leastConnection{} },
	"wlc":   func() scheduler { return weightedLeastConnection{} },
	"sed":   func() scheduler { return shortestExpectedDelay{} },
	"nq":    func() scheduler { return neverQueue{} },
	"fo":    func() scheduler { return failover{} },
	"ovf":   func() scheduler { return overflow{} },
	"dh":    func() scheduler { return &destinationHash{} },
	"sh":    func() scheduler { return &sourceHash{} },
	"mh":    func() scheduler { return &maglev{} },
	"lblc":  func() scheduler { return &locality{} },
	"lblcr": func() scheduler { return &localitySets{} },
	"twos":  func() scheduler { return powerOfTwo{} },
}
