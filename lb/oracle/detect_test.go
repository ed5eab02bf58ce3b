package oracle_test

import (
	"testing"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// modelProber has a model stand in for the kernel.
type modelProber struct {
	*oracle.Model
	opened int
}

func (p *modelProber) Dests() [2]lb.DestKey {
	return [2]lb.DestKey{server(1, 0).DestKey, server(2, 0).DestKey}
}

func (p *modelProber) Set(d lb.Destination) error {
	for _, s := range p.Destinations() {
		if s.Dest == d.DestKey {
			return p.Edit(d)
		}
	}
	return p.Add(d)
}

func (p *modelProber) Open() (lb.DestKey, bool, error) {
	p.opened++
	k, ok := p.Pick(client(p.opened))
	return k, ok, nil
}

func (p *modelProber) Finish() error { return p.Model.Finish(client(p.opened)) }

func TestDetectTellsVariantsApart(t *testing.T) {
	for _, overhead := range []oracle.Overhead{oracle.ActiveInactive, oracle.ActiveTotal} {
		for _, overload := range []oracle.Overload{oracle.OnBind, oracle.OnCrossing} {
			want := oracle.Variant{Overhead: overhead, Overload: overload}
			got, err := oracle.Detect(&modelProber{Model: model(t, service("wlc"), want)})
			if err != nil || got != want {
				t.Errorf("detected %v, %v; want %v", got, err, want)
			}
		}
	}
}
