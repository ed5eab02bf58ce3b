package lb

import (
	"errors"
	"fmt"
)

// Op is the kind of a Change; each but Flush is one kernel message.
type Op uint8

// The operations (IPVS_CMD_*, include/uapi/linux/ip_vs.h).
const (
	AddService Op = iota + 1
	EditService
	DeleteService
	AddDestination
	EditDestination
	DeleteDestination
	Flush // deletes every service of the namespace, whoever made it
)

var opNames = [...]string{
	AddService: "add service", EditService: "edit service", DeleteService: "delete service",
	AddDestination: "add destination", EditDestination: "edit destination", DeleteDestination: "delete destination",
	Flush: "flush table",
}

// String is a verb and a noun, such as "add destination".
func (o Op) String() string {
	if int(o) < len(opNames) && o != 0 {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// deletes tells whether the operation takes something away.
func (o Op) deletes() bool { return o == DeleteService || o == DeleteDestination || o == Flush }

// Change is one write to a table.
//
// Service.Key names the service for every operation but Flush. The service's
// other fields count for AddService and EditService only, Destination for the
// operations on destinations; to delete one, its DestKey is enough.
// Service.Destinations and all Counters are not looked at: each destination
// has a Change of its own.
type Change struct {
	Op          Op
	Service     Service
	Destination Destination
}

// DestChange is a Change of one destination of the service named by k.
func DestChange(op Op, k Key, d Destination) Change {
	return Change{Op: op, Service: Service{Key: k}, Destination: d}
}

// String names the operation and what it works on.
func (c Change) String() string {
	switch c.Op {
	case AddService, EditService:
		return fmt.Sprintf("%s %s, scheduler %s", c.Op, c.Service.Key, c.Service.Scheduler)
	case AddDestination, EditDestination:
		d := c.Destination
		return fmt.Sprintf("%s %s of %s, %s, weight %d", c.Op, d.DestKey, c.Service.Key, d.Forward, d.Weight)
	case DeleteDestination:
		return fmt.Sprintf("%s %s of %s", c.Op, c.Destination.DestKey, c.Service.Key)
	case Flush:
		return c.Op.String()
	}
	return fmt.Sprintf("%s %s", c.Op, c.Service.Key)
}

// ChangeError says that a change was not made, and why.
type ChangeError struct {
	Index  int // position among the changes handed to Apply
	Change Change
	Err    error
}

func (e *ChangeError) Error() string { return e.Change.String() + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *ChangeError) Unwrap() error { return e.Err }

// ChangeErrors finds the ChangeErrors in an error that Apply returned, in order.
func ChangeErrors(err error) []*ChangeError {
	var one *ChangeError
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*ChangeError
		for _, e := range many.Unwrap() {
			out = append(out, ChangeErrors(e)...)
		}
		return out
	}
	if errors.As(err, &one) {
		return []*ChangeError{one}
	}
	return nil
}
