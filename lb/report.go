package lb

import (
	"errors"
	"fmt"
)

// ErrForeign: a change to a service that the Controller does not own.
var ErrForeign = errors.New("service belongs to somebody else; desire it first, or take it over")

// Report says what a Controller did.
type Report struct {
	Done     []Change       // made, and read back unless the error says otherwise
	Failed   []*ChangeError // refused, or their fate is unknown
	Withheld []Change       // deletions not tried, since something else failed for their service
	Foreign  []Key          // services found and left alone
}

// outcome joins what went wrong, if anything did, and says how far things got.
func (r *Report) outcome(verify []error) error {
	var errs []error
	for _, e := range r.Failed {
		errs = append(errs, e)
	}
	errs = append(errs, verify...)
	if len(errs) == 0 {
		return nil
	}
	total := len(r.Done) + len(r.Failed) + len(r.Withheld)
	return fmt.Errorf("%d of %d changes made, %d withheld: %w", len(r.Done), total, len(r.Withheld), errors.Join(errs...))
}
