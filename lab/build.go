package lab

import (
	"context"
	"fmt"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
)

// builder makes a lab that is recorded and whose lock is held.
type builder struct {
	*Lab
	state    *state
	stateDir *stateDir
	opts     Options

	segments *netns.NS
	bridges  map[string]*segment  // by network
	switches chan *rtnl.Conn      // in segments, one for each that works at a time
	settings chan *rtnl.Settings  // likewise
	cables   map[string]cable     // by node and interface; see planCables
	paired   map[string][]pairEnd // by network without a bridge
}

// build makes everything in order. What it made when it fails is tearDown's.
func (b *builder) build(ctx context.Context) error {
	defer b.release()
	steps := []struct {
		say string
		do  func(context.Context) error
	}{
		{"creating segments", b.createSegments},
		{"creating nodes", b.createNodes},
		{"linking pairs of nodes", b.linkPairs},
		{"waiting for links", b.awaitLinks},
		{"waiting for IPv6 addresses", b.awaitIPv6},
		{"setting virtual services", b.applyServices},
		{"starting responders", b.startAgent},
		{"starting commands", b.startCommands},
		{"starting directors", b.startDirectors},
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.opts.Progress(step.say)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// release closes what only build needs; none of it can lose anything.
func (b *builder) release() {
	if b.segments != nil {
		b.segments.Close()
	}
	if b.switches != nil {
		close(b.switches)
		for conn := range b.switches {
			conn.Close()
		}
		close(b.settings)
		for settings := range b.settings {
			settings.Close()
		}
	}
}

// manyNodes is when it pays to look for settings elsewhere than in /proc.
const manyNodes = 100

func (b *builder) newSettings() *rtnl.Settings {
	if len(b.plan.Nodes) < manyNodes {
		return &rtnl.Settings{}
	}
	return rtnl.NewSettings()
}

// segmentSysctls keep the switches from taking part in what they carry.
var segmentSysctls = []rtnl.Sysctl{
	{Key: "net.ipv6.conf.all.disable_ipv6", Value: "1", Optional: true},
	{Key: "net.ipv6.conf.default.disable_ipv6", Value: "1", Optional: true},
	{Key: "net.bridge.bridge-nf-call-iptables", Value: "0", Optional: true},
	{Key: "net.bridge.bridge-nf-call-ip6tables", Value: "0", Optional: true},
	{Key: "net.bridge.bridge-nf-call-arptables", Value: "0", Optional: true},
}

// createSegments makes the namespace of the bridges, and these.
func (b *builder) createSegments(ctx context.Context) error {
	if err := writeFile(hostsFile(b.dir), hosts(b.plan)); err != nil {
		return fmt.Errorf("write hosts file: %w", err)
	}
	if err := writeFile(resolvFile(hostsFile(b.dir)), []byte(resolv)); err != nil {
		return fmt.Errorf("write resolv.conf: %w", err)
	}
	if err := b.planCables(); err != nil {
		return err
	}
	name := segmentsName(b.plan.Name)
	b.switches = make(chan *rtnl.Conn, netns.Workers())
	b.settings = make(chan *rtnl.Settings, netns.Workers())
	err := netns.CreateAll([]string{name}, func(int) error {
		if err := (&rtnl.Settings{}).Set(segmentSysctls...); err != nil {
			return err
		}
		for range cap(b.switches) {
			conn, err := rtnl.Dial()
			if err != nil {
				return err
			}
			b.switches <- conn
			b.settings <- b.newSettings()
		}
		return nil
	})
	if err == nil {
		b.segments, err = netns.Open(name)
	}
	if err != nil {
		return fmt.Errorf("create segments: %w", err)
	}
	return b.makeBridges(ctx)
}

// onSwitch lends fn a connection to the segments' namespace.
func (b *builder) onSwitch(fn func(*rtnl.Conn) error) error {
	conn := <-b.switches
	defer func() { b.switches <- conn }()
	return fn(conn)
}

// createNodes makes the nodes' namespaces and all that is in them, several at
// a time. Nodes that are linked to another one wait for linkPairs.
func (b *builder) createNodes(ctx context.Context) error {
	return netns.CreateAll(b.state.Namespaces[1:], func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		node := &b.plan.Nodes[i]
		err := b.plugIn(ctx, node)
		if err == nil && !b.isPaired(node) {
			err = b.configure(ctx, node)
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
		return nil
	})
}

func (b *builder) configure(ctx context.Context, node *topology.Node) error {
	settings := <-b.settings
	defer func() { b.settings <- settings }()
	c := &configurer{node: node, services: b.plan.Services, settings: settings, noServices: b.opts.NoServices}
	return c.run(ctx)
}
