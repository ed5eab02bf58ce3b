package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/topology"
)

// Table opens the node's IPVS table; Close it. lb.ErrNoIPVS: the kernel has none.
func (n *Node) Table(ctx context.Context) (*ipvs.Table, error) {
	table, err := ipvs.Open(ctx, netns.Path(n.Namespace()))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name(), err)
	}
	return table, nil
}

// applyServices fills the tables of those directors that are no processes.
func (b *builder) applyServices(ctx context.Context) error {
	if b.opts.NoServices {
		return nil
	}
	for _, node := range b.Nodes() {
		d := b.plan.DirectorOf(node.Name())
		desired := carried(b.plan, node.Name())
		var err error
		switch {
		case d != nil && hasProcess(b.plan, d): // its turn comes
		case d != nil && d.Kind == topology.Ipvsadm:
			err = b.applyRules(ctx, d)
		case len(desired) > 0:
			err = node.applyServices(ctx, desired)
		}
		if err != nil {
			return fmt.Errorf("set virtual services: %w", err)
		}
	}
	return nil
}

// applyServices leaves reading back and judging it to the controller.
func (n *Node) applyServices(ctx context.Context, desired []lb.Service) (err error) {
	table, err := n.Table(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	if _, err := lb.NewController(table, lb.ControllerOptions{}).Reconcile(ctx, desired); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
	return nil
}
