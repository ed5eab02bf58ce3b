package ipvs

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/vishvananda/netlink/nl"
)

// Apply implements lb.Table. Destinations that follow each other travel
// together, services one by one.
func (t *Table) Apply(ctx context.Context, changes ...lb.Change) error {
	ctx, unlock, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	fail := func(i int, err error) {
		if err != nil {
			errs = append(errs, &lb.ChangeError{Index: i, Change: changes[i], Err: explain(changes[i].Op, err)})
		}
	}
	for i := 0; i < len(changes); {
		n := t.destinationRun(changes[i:])
		if n == 0 {
			fail(i, t.moby.change(ctx, changes[i]))
			i++
			continue
		}
		for j, err := range t.applyDestinations(changes[i : i+n]) {
			fail(i+j, err)
		}
		i += n
	}
	return errors.Join(errs...)
}

// destinationRun counts the changes at the front that fit into one batch.
func (t *Table) destinationRun(changes []lb.Change) int {
	n := 0
	for n < len(changes) && n < maxBatch {
		switch changes[n].Op {
		case lb.AddDestination, lb.EditDestination, lb.DeleteDestination:
			n++
		default:
			return n
		}
	}
	return n
}

// applyDestinations makes the changes with one message each, sent together,
// and gives an error or nil for each.
func (t *Table) applyDestinations(changes []lb.Change) []error {
	reqs := make([]*nl.NetlinkRequest, len(changes))
	for i, c := range changes {
		reqs[i] = t.destinationRequest(c)
	}
	errs, err := t.conn.batch(reqs)
	if err == nil {
		return errs
	}
	errs = make([]error, len(changes))
	for i := range errs {
		errs[i] = fmt.Errorf("%w: %w", lb.ErrUnknown, err)
	}
	return errs
}

func (t *Table) destinationRequest(c lb.Change) *nl.NetlinkRequest {
	var req *nl.NetlinkRequest
	dest := destAttr(c.Destination)
	switch c.Op {
	case lb.AddDestination:
		req = t.conn.request(cmdNewDest, 0)
	case lb.EditDestination:
		req = t.conn.request(cmdSetDest, 0)
	default:
		req, dest = t.conn.request(cmdDelDest, 0), destKeyAttr(c.Destination.DestKey)
	}
	req.AddData(keyAttr(c.Service.Key))
	req.AddData(dest)
	return req
}
