package launch

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/ipvslab/ipvslab/internal/guest/choose"
	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/probe"
)

// labFeatures are what a lab with everything in it would need.
func labFeatures() []string { return append(slices.Clone(Basics), probe.IPVS) }

// KernelStatus is what `ipvslab kernel status` tells.
type KernelStatus struct {
	Decision *choose.Decision `json:"decision,omitempty"`
	Refusal  string           `json:"refusal,omitempty"` // why no way is open
	Kernels  []image.Kernel   `json:"kernels,omitempty"` // guests' kernels at hand
	Report   probe.Report     `json:"report"`            // of this kernel
}

// KernelStatus explains where a lab with IPVS would run. Nothing is fetched.
func (l *Launcher) KernelStatus(ctx context.Context) (*KernelStatus, error) {
	in, err := choose.Gather(ctx, l.Selection, labFeatures(), Inside())
	if err != nil {
		return nil, err
	}
	s := &KernelStatus{Kernels: in.Kernels, Report: probe.Probe(ctx)}
	d, err := choose.Decide(in)
	if err != nil {
		s.Refusal = err.Error()
	} else {
		s.Decision = &d
	}
	return s, nil
}

// Print writes the status for a person.
func (s *KernelStatus) Print(w io.Writer) {
	if s.Decision != nil {
		fmt.Fprintf(w, "labs run in: %s\n", s.Decision.Launcher)
		for _, r := range s.Decision.Reasons {
			fmt.Fprintf(w, "  %s\n", r)
		}
	} else {
		fmt.Fprintln(w, s.Refusal)
	}
	if len(s.Kernels) > 0 {
		fmt.Fprintln(w, "\nguest kernels at hand:")
	}
	for _, k := range s.Kernels {
		fmt.Fprintf(w, "  %s", k)
		if k.Unfit != "" {
			fmt.Fprintf(w, ": %s", k.Unfit)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\nthis kernel, %s, as uid %d:\n", s.Report.Kernel, s.Report.UID)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range s.Report.Features {
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", f.Name, f.State, f.Why)
	}
	tw.Flush()
}

// Fetch gets what the guests need that --kernel allows: for auto the first
// that can run here. With ifNeeded nothing is fetched where this kernel will do.
func (l *Launcher) Fetch(ctx context.Context, ifNeeded bool) error {
	setting := l.Selection
	if !ifNeeded && (setting == "" || setting == choose.Auto) {
		setting = image.QEMU
		if image.UMLPossible() {
			setting = image.UML
		}
	}
	in, err := choose.Gather(ctx, setting, labFeatures(), Inside())
	if err != nil {
		return err
	}
	d, err := choose.Settle(ctx, in, l.Err)
	if err != nil {
		return err
	}
	if d.Kernel != nil {
		l.note("guest kernel: " + d.Kernel.String())
	}
	return nil
}
