package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
)

// Table opens the node's IPVS table; Close it. lb.ErrNoIPVS: the kernel has none.
func (n *Node) Table(ctx context.Context) (*ipvs.Table, error) {
	table, err := ipvs.Open(ctx, netns.Path(n.Namespace()))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name(), err)
	}
	return table, nil
}

// applyServices fills the directors' tables.
func (b *builder) applyServices(ctx context.Context) error {
	if b.opts.NoServices {
		return nil
	}
	return b.ApplyServices(ctx)
}

// ApplyServices makes every director's table equal to the plan, as Up does
// unless it is told to leave that out, and checks what the kernel then holds.
// Services that the plan doesn't know are left alone.
func (l *Lab) ApplyServices(ctx context.Context) error {
	for _, node := range l.Nodes() {
		var desired []lb.Service
		for _, s := range l.plan.Services {
			if slices.Contains(s.Directors, node.Name()) {
				desired = append(desired, s.Spec)
			}
		}
		if len(desired) == 0 {
			continue
		}
		if err := node.applyServices(ctx, desired); err != nil {
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
