package ipvsadm

import (
	"context"
	"io"

	"github.com/ipvslab/ipvslab/lb"
)

// maxPending bounds how many changes are handed to the table at once.
const maxPending = 1024

// restorer carries out the lines of a rules file. Changes that follow each
// other are handed to the table together; messages and statuses are those of
// one after the other.
type restorer struct {
	*tool
	pending []Command
	status  int // of the last line carried out
}

// restore carries out -R. A line that the kernel refuses is reported, and the
// next is tried; a line that is wrong ends it. The status is the last line's.
func (t *tool) restore(ctx context.Context, r io.Reader) int {
	lines := newRuleReader(r)
	do := restorer{tool: t}
	for {
		words, ok := lines.next()
		if !ok {
			break
		}
		if len(words) > 0 && do.line(ctx, words) {
			return do.status
		}
		if lines.drained() {
			do.flush(ctx)
		}
	}
	do.flush(ctx)
	if lines.err != nil {
		t.complain("read rules: " + lines.err.Error())
		return statusFailed
	}
	return do.status
}

// line carries out one line; true: the program ends.
func (r *restorer) line(ctx context.Context, words []string) (ends bool) {
	cmd, err := Parse(append([]string{r.program}, words...), r.Names)
	if err == nil && cmd.Verb == Restore { // no restore within a restore
		err = tryHelp(r.program)
	}
	if err != nil {
		r.flush(ctx)
		r.status, ends = r.refuse(err)
		return ends
	}
	if _, ok := cmd.Change(); ok {
		if r.pending = append(r.pending, cmd); len(r.pending) >= maxPending {
			r.flush(ctx)
		}
		return false
	}
	r.flush(ctx)
	r.status = r.do(ctx, cmd)
	// The original leaves the program after a failed listing, -h and -v.
	return cmd.Verb == Help || cmd.Verb == Version || r.status == statusFailed || r.status == statusUsage
}

// flush makes the pending changes and reports those that failed.
func (r *restorer) flush(ctx context.Context) {
	if len(r.pending) == 0 {
		return
	}
	changes := make([]lb.Change, len(r.pending))
	for i, cmd := range r.pending {
		changes[i], _ = cmd.Change()
	}
	err := r.Table.Apply(ctx, changes...)
	failed := lb.ChangeErrors(err)
	if err != nil && len(failed) == 0 { // the table as a whole is out of reach
		failed = []*lb.ChangeError{{Index: len(changes) - 1, Err: err}}
	}
	r.status = statusOK
	for _, f := range failed {
		status := r.result(ctx, r.pending[f.Index], f.Err)
		if f.Index == len(changes)-1 {
			r.status = status
		}
	}
	r.pending = r.pending[:0]
}
