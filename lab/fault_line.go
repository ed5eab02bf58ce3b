package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sys/unix"
)

// lineEnd is a link in one of the lab's namespaces.
type lineEnd struct{ namespace, link string }

// line is a node's interface and where its other end is: a bridge's port, or an
// interface of the node at the other end. What the far end sends is what the
// node receives.
type line struct {
	topology.Interface
	node      *Node
	near, far lineEnd
	bridged   bool
}

// lines are a node's interfaces that a fault names: one, by its name or its
// network's, or all that are on networks.
func (b *builder) lines(node *Node, named string) ([]line, error) {
	if b.cables == nil {
		if err := b.planCables(); err != nil {
			return nil, err
		}
	}
	var found []line
	var names []string
	for _, iface := range node.plan.Interfaces {
		if iface.Kind != topology.VethIface {
			continue
		}
		names = append(names, iface.Name)
		if named == "" || named == iface.Name || named == iface.Network {
			found = append(found, b.line(node, iface))
		}
	}
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("node %s is on no network", node.Name())
	case len(found) == 0:
		return nil, fmt.Errorf("node %s has no interface %q on a network, only %s", node.Name(), named, strings.Join(names, ", "))
	}
	return found, nil
}

func (b *builder) line(node *Node, iface topology.Interface) line {
	ln := line{Interface: iface, node: node, near: lineEnd{node.Namespace(), iface.Name}}
	if c, ok := b.cables[cableName(node.Name(), iface.Name)]; ok {
		ln.far, ln.bridged = lineEnd{segmentsName(b.plan.Name), c.port.Name}, true
		return ln
	}
	for _, e := range b.paired[iface.Network] {
		if e.node.Name != node.Name() || e.end.Name != iface.Name {
			ln.far = lineEnd{nsName(b.plan.Name, e.node.Name), e.end.Name}
		}
	}
	return ln
}

// effect is what faults of lines come to, by the link that has to do it.
type effect struct {
	cut    map[lineEnd]line // by the near end
	impair map[lineEnd][]rtnl.Impairment
	block  map[lineEnd][]string // by the port that packets come in by
}

// effect works out what faults of lines come to. It fails where they make no sense.
func (b *builder) effect(faults []topology.Fault) (effect, error) {
	e := effect{map[lineEnd]line{}, map[lineEnd][]rtnl.Impairment{}, map[lineEnd][]string{}}
	for _, f := range faults {
		node, err := b.Node(f.Node)
		if err != nil {
			return e, err
		}
		lines, err := b.lines(node, f.Interface)
		if err != nil {
			return e, err
		}
		switch {
		case f.Do == topology.FaultLinkDown || f.Do == topology.FaultLinkUp:
			for _, ln := range lines {
				e.cut[ln.near] = ln
			}
		case len(f.With) > 0:
			err = b.between(f, lines, e)
		default:
			imp := rtnl.Impairment{Loss: f.Loss, Delay: f.Delay, Jitter: f.Jitter}
			for _, ln := range lines {
				if f.Direction != topology.In {
					e.add(ln.near, imp)
				}
				if f.Direction != topology.Out {
					e.add(ln.far, imp)
				}
			}
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

// between adds what a fault does to what goes between its node and others: on
// every network that both are on.
func (b *builder) between(f topology.Fault, lines []line, e effect) error {
	for _, name := range f.With {
		other, err := b.Node(name)
		if err != nil {
			return err
		}
		theirs, err := b.lines(other, "")
		if err != nil {
			return err
		}
		shared := false
		for _, ln := range lines {
			for _, their := range theirs {
				if their.Network != ln.Network {
					continue
				}
				shared = true
				if f.Direction != topology.Out {
					e.addFrom(their.sender(), ln.far, f)
				}
				if f.Direction != topology.In {
					e.addFrom(ln.sender(), their.far, f)
				}
			}
		}
		if !shared {
			return fmt.Errorf("nodes %s and %s share no network; name the one next to it", f.Node, name)
		}
	}
	return nil
}

// sender is by what its packets are told from others': the port that they
// come in by, whatever hardware addresses the node uses. By a cable there are
// no others.
func (ln line) sender() string {
	if ln.bridged {
		return ln.far.link
	}
	return ""
}

// addFrom adds what is to happen to a sender's packets where they leave by a link.
func (e effect) addFrom(sender string, end lineEnd, f topology.Fault) {
	if f.Do == topology.FaultPartition {
		e.block[end] = append(e.block[end], sender)
		return
	}
	e.add(end, rtnl.Impairment{From: sender, Loss: f.Loss, Delay: f.Delay, Jitter: f.Jitter})
}

// add adds an impairment of a link to those it has. What is said of everybody
// holds for those named as well.
func (e effect) add(end lineEnd, imp rtnl.Impairment) {
	all := e.impair[end]
	i := slices.IndexFunc(all, func(o rtnl.Impairment) bool { return o.From == imp.From })
	if i < 0 {
		general := rtnl.Impairment{From: imp.From}
		if g := slices.IndexFunc(all, func(o rtnl.Impairment) bool { return o.From == "" }); g >= 0 {
			general = all[g]
			general.From = imp.From
		}
		i, all = len(all), append(all, general)
	}
	for k := range all {
		if k == i || imp.From == "" {
			all[k] = stack(all[k], imp)
		}
	}
	e.impair[end] = all
}

// stack is one impairment after the other.
func stack(a, b rtnl.Impairment) rtnl.Impairment {
	a.Loss = 100 - (100-a.Loss)*(100-b.Loss)/100
	a.Delay += b.Delay
	a.Jitter += b.Jitter
	return a
}

// replaces tells whether a new fault of a line takes the place of one in force:
// of the same kind, and nowhere else than where the new one is.
func replaces(f, o topology.Fault) bool {
	kind := f.Do
	if kind == topology.FaultLinkUp {
		kind = topology.FaultLinkDown
	}
	return o.Do == kind && o.Node == f.Node && (f.Interface == "" || o.Interface == f.Interface) &&
		(len(f.With) == 0 || slices.Equal(o.With, f.With)) && (f.Direction == "" || o.Direction == f.Direction)
}

// lineFault does a fault of a line.
func (b *builder) lineFault(ctx context.Context, f topology.Fault) error {
	node, err := b.Node(f.Node)
	if err != nil {
		return err
	}
	lines, err := b.lines(node, f.Interface)
	if err != nil {
		return err
	}
	if f.Interface != "" {
		f.Interface = lines[0].Name // not the network's
	}
	next := slices.DeleteFunc(slices.Clone(b.state.Faults), func(o topology.Fault) bool { return replaces(f, o) })
	switch {
	case f.Do == topology.FaultLinkDown:
		for _, ln := range lines { // each can be mended alone
			next = append(next, topology.Fault{Do: f.Do, Node: f.Node, Interface: ln.Name})
		}
	case f.Do == topology.FaultLinkUp, f.Loss == 0 && f.Delay == 0 && f.Do != topology.FaultPartition:
	default:
		next = append(next, f)
	}
	return b.setLines(ctx, next, f)
}

// setLines puts these faults in force in place of those recorded. Wherever
// more faults may have left their mark, they are named as well.
func (b *builder) setLines(ctx context.Context, next []topology.Fault, more ...topology.Fault) error {
	before := b.state.Faults
	changed := slices.Concat(more, without(before, next), without(next, before))
	onLine := func(fs []topology.Fault) []topology.Fault {
		return slices.DeleteFunc(slices.Clone(fs), func(f topology.Fault) bool { return !f.OnLine() })
	}
	touched, err := b.effect(onLine(changed))
	if err != nil {
		return err
	}
	want, err := b.effect(onLine(next))
	if err != nil {
		return err
	}
	// Until it is done, both may be in force.
	b.state.Faults = append(slices.Clone(before), without(next, before)...)
	if err := b.stateDir.write(b.state); err != nil {
		return err
	}
	if err := b.applyEffect(ctx, touched, want); err != nil {
		return err
	}
	b.state.Faults = next
	return b.stateDir.write(b.state)
}

// without lists the faults of a that are not in b.
func without(a, b []topology.Fault) []topology.Fault {
	return slices.DeleteFunc(slices.Clone(a), func(f topology.Fault) bool {
		return slices.ContainsFunc(b, func(o topology.Fault) bool { return o.String() == f.String() })
	})
}

// applyEffect makes every link that was touched do what is wanted of it. It
// goes on past failures and joins them.
func (b *builder) applyEffect(ctx context.Context, touched, want effect) error {
	var errs []error
	for end := range touched.impair {
		errs = append(errs, at(end, func(ns *netns.NS) error { return rtnl.Impair(ns, end.link, want.impair[end]) }))
	}
	for end := range touched.block {
		errs = append(errs, at(end, func(ns *netns.NS) error { return rtnl.Block(ns, end.link, want.block[end]) }))
	}
	for end, ln := range touched.cut {
		_, cut := want.cut[end]
		errs = append(errs, b.connect(ctx, ln, !cut && !ln.Down))
	}
	return errors.Join(errs...)
}

// at calls fn with the namespace of a line's end.
func at(end lineEnd, fn func(*netns.NS) error) error {
	ns, err := netns.Open(end.namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := fn(ns); err != nil {
		return fmt.Errorf("network namespace %s: %w", end.namespace, err)
	}
	return nil
}

// carrierTimeout bounds the wait for a cable to work, or not to.
const carrierTimeout = 30 * time.Second

// connect puts a cable in or pulls it out. At a bridge it is the port that
// changes: the node sees its carrier come and go and keeps what it has
// configured. A node at the other end of the cable must not lose its own
// settings; so the node's interface itself goes down there, and gets back what
// the plan says when it is up again.
func (b *builder) connect(ctx context.Context, ln line, on bool) error {
	ctx, cancel := context.WithTimeout(ctx, carrierTimeout)
	defer cancel()
	end := ln.near
	if ln.bridged {
		end = ln.far
	}
	if err := at(end, func(ns *netns.NS) error { return rtnl.SetUp(ns, end.link, on) }); err != nil {
		return err
	}
	if !ln.bridged && on {
		if err := b.restore(ctx, ln); err != nil {
			return err
		}
	}
	if !on {
		return at(ln.near, func(ns *netns.NS) error { return rtnl.WaitNoCarrier(ctx, ns, ln.Name) })
	}
	for _, end := range []lineEnd{ln.near, ln.far} {
		if err := at(end, func(ns *netns.NS) error { return rtnl.WaitOperational(ctx, ns, end.link) }); err != nil {
			return err
		}
	}
	return nil
}

// restore gives an interface the addresses and routes back that it lost.
func (b *builder) restore(ctx context.Context, ln line) error {
	return ln.node.Do(func() error {
		conn, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		control, err := rtnl.OpenControl()
		if err != nil {
			return err
		}
		defer control.Close()
		c := &configurer{node: ln.node.plan, index: map[string]int{"lo": loopbackIndex}}
		for _, iface := range ln.node.plan.Interfaces {
			if c.index[iface.Name], err = control.Index(iface.Name); err != nil {
				return err
			}
		}
		reqs := c.addressesOf(ln.Interface)
		routes, err := c.routes()
		if err != nil {
			return err
		}
		for _, req := range append(reqs, routes...) {
			if err := conn.Apply(ctx, req); err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
		return nil
	})
}
