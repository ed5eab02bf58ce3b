package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

// Outcome is what a replay came to.
type Outcome struct {
	Events     int         `json:"events"`               // that happened in both
	Picks      []string    `json:"picks"`                // the kernel's, until the difference
	Difference *Difference `json:"difference,omitempty"` // the first; nil: there is none
}

// Play plays a script in this kernel and on the model, and compares after each
// event. It stops at the first difference. An event that both refuse is an
// error, as are those that no packet can bring about (ErrCantReplay).
func Play(ctx context.Context, in predict.Input) (out Outcome, err error) {
	p, err := Open(ctx, in.Service, in.Variant)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	player := predict.Clients{Family: in.Service.Family}
	for i, e := range in.Events {
		for _, e := range player.Each(e) {
			err := p.step(e, i+1 < len(in.Events) && in.Events[i+1].Verb == predict.Close)
			if err != nil {
				out.Picks = p.Picks
				if errors.As(err, &out.Difference) {
					return out, nil
				}
				return out, fmt.Errorf("event %d: %w", i+1, err)
			}
		}
		out.Events++
	}
	out.Picks = p.Picks
	return out, nil
}

// step does one event and compares, unless timers of the next event may as
// well run at the same time.
func (p *Pair) step(e predict.Event, more bool) error {
	done, err := p.Do(e)
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("%s: kernel and model both refuse it", e)
	}
	if more && e.Verb == predict.Close {
		return nil
	}
	return p.Compare()
}
