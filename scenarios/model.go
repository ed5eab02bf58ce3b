package scenarios

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// modelled tells whether the scheduler's picks can be predicted: twos leaves
// them to chance, and of others there is no model.
func modelled(scheduler string) bool {
	return scheduler != "twos" && slices.Contains(oracle.Schedulers(), scheduler)
}

// model is the service as planned, in the order in which the kernel was given
// the destinations, with the rules of this kernel.
func (s *service) model(have lb.Service) *oracle.Model {
	v := oracle.Variant{}
	if s.needsVariant() {
		var err error
		v, err = kernelVariant()
		must(err)
	}
	v.Settings = s.settings()
	bare := s.Spec
	bare.Destinations = nil
	m, err := oracle.New(bare, v)
	must(err)
	for _, d := range inOrder(s.Spec.Destinations, have.Destinations) {
		for i, step := range stepsToAdd(d) {
			if i == 0 {
				must(m.Add(step))
			} else {
				must(m.Edit(step))
			}
		}
	}
	return m
}

// modelIfAny is nil where nobody can predict the picks.
func (s *service) modelIfAny(have lb.Service) *oracle.Model {
	if !s.predictable() {
		return nil
	}
	return s.model(have)
}

// inOrder sorts planned destinations as those that the kernel has; what it
// doesn't have comes last.
func inOrder(planned, have []lb.Destination) []lb.Destination {
	at := func(d lb.Destination) int {
		i := slices.IndexFunc(have, func(h lb.Destination) bool { return h.DestKey == d.DestKey })
		if i < 0 {
			return len(have)
		}
		return i
	}
	out := slices.Clone(planned)
	slices.SortStableFunc(out, func(a, b lb.Destination) int { return cmp.Compare(at(a), at(b)) })
	return out
}

// needsVariant tells whether kernels differ in what they do for this service.
func (s *service) needsVariant() bool {
	switch s.Spec.Scheduler {
	case "lc", "wlc", "lblc", "lblcr":
		return true
	}
	return slices.ContainsFunc(s.Spec.Destinations, func(d lb.Destination) bool { return d.Upper > 0 })
}

// kernelVariant finds out by experiment which rules this kernel follows.
var kernelVariant = sync.OnceValues(func() (v oracle.Variant, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), specTimeout/2)
	defer cancel()
	p, err := director.NewProber(ctx, func(path string) (lb.Table, error) { return ipvs.Open(ctx, path) })
	if err != nil {
		return v, fmt.Errorf("find out which rules this kernel follows: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return oracle.Detect(p)
})

// settings are the planned ones that bear on scheduling; what the plan leaves
// open is the kernel's own default.
func (s *service) settings() oracle.Settings {
	read := func(key string) int {
		var text string
		must(s.st.node(s.director).Do(func() (err error) { text, err = rtnl.ReadSysctl("net.ipv4.vs." + key); return err }))
		n, err := strconv.Atoi(text)
		must(err)
		return n
	}
	o := oracle.Settings{
		ExpireQuiescentTemplate: read("expire_quiescent_template") != 0,
		ExpireNodestConn:        read("expire_nodest_conn") != 0,
		NoConnReuse:             read("conn_reuse_mode") == 0,
	}
	if s.Spec.Scheduler == "lblcr" {
		o.LBLCRExpiration = time.Duration(read("lblcr_expiration")) * time.Second
	}
	return o
}
