package lab_test

import (
	"path/filepath"
	"testing"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/embedded"
)

// A director is killed in the middle of a drain: what it was told by hand is
// lost with it, and the next one goes by its configuration. No weight stays at
// zero for ever (failure mode weight-stuck-zero), and no stream is cut, neither
// by the kill, nor by the restart, nor by freezing and waking it.
func TestDirectorKilledWhileDraining(t *testing.T) {
	needIPVS(t)
	stateRoot(t)
	p := directed(t, "drain", "web: {", checked, "rs1: {role: realserver,", "rs1: {role: realserver, serve: [{tcp: 80}],",
		"rs2: {role: realserver,", "rs2: {role: realserver, serve: [{tcp: 80}],")
	l := up(t, p, lab.Options{})
	streams := openStreams(t, l, 10)
	node, err := l.Node("director")
	if err != nil {
		t.Fatal(err)
	}
	client, err := node.Director()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := embedded.ReadConfig(filepath.Join(l.Dir(), "directors", "director", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	weights := func() (sum int32) {
		for _, d := range table(t, l)[0].Destinations {
			sum = sum*10 + d.Weight
		}
		return sum
	}
	// Another slice: the configuration on disk is not to change.
	drained := append([]lb.Destination{}, cfg.Services[0].Spec.Destinations...)
	for i := range drained {
		drained[i].Weight = 0
	}
	cfg.Services[0].Spec.Destinations = drained
	if err := client.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if w := weights(); w != 0 {
		t.Fatalf("the drain has not begun: weights %02d", w)
	}
	do(t, l, "director kill")
	if w := weights(); w != 0 {
		t.Errorf("the kernel has forgotten the drain: weights %02d", w)
	}
	alive(t, streams)
	do(t, l, "director restart")
	inForce(t, l)
	if w := weights(); w != 11 {
		t.Errorf("after the restart the weights are %02d, the configuration says 1 and 1", w)
	}
	alive(t, streams)
	do(t, l, "director freeze")
	alive(t, streams)
	do(t, l, "director heal")
	alive(t, openStreams(t, l, 2))
}
