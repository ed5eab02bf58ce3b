package topology

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FaultKind is a way to make something go wrong, or right again.
type FaultKind string

// The faults, and what ends them. What is killed or stopped stays so until it
// is restarted, what is cut until it is healed.
const (
	FaultKill      FaultKind = "kill"      // SIGKILL: the kernel's state stays as it was at that moment
	FaultStop      FaultKind = "stop"      // SIGTERM: a clean end
	FaultFreeze    FaultKind = "freeze"    // SIGSTOP: it is there, and does nothing
	FaultResume    FaultKind = "resume"    // SIGCONT
	FaultRestart   FaultKind = "restart"   // a clean end if it runs, then a start
	FaultLinkDown  FaultKind = "link-down" // the cable is out: no carrier; addresses and routes stay
	FaultLinkUp    FaultKind = "link-up"
	FaultLoss      FaultKind = "loss"      // packets get lost at random
	FaultDelay     FaultKind = "delay"     // packets come late
	FaultPartition FaultKind = "partition" // nothing gets from one node to the other, all else works
	FaultHeal      FaultKind = "heal"      // everything that was done to the node is undone
)

// FaultKinds are all of them, in the order in which a person wants to read them.
var FaultKinds = []FaultKind{
	FaultKill, FaultStop, FaultFreeze, FaultResume, FaultRestart,
	FaultLinkDown, FaultLinkUp, FaultLoss, FaultDelay, FaultPartition, FaultHeal,
}

// Direction says which packets a fault of the line takes, seen from the node.
type Direction string

// The directions; the zero value is both.
const (
	Out Direction = "out" // those that the node sends
	In  Direction = "in"  // those that are sent to it
)

// The names of processes that are no command's.
const (
	DirectorProcess  = "director"   // the node's director
	ResponderProcess = "responders" // its built-in servers, all at once
)

// Fault is something to go wrong on purpose. Which fields count depends on Do.
type Fault struct {
	At   time.Duration `json:"at,omitempty"` // after the traffic has begun; scenarios only
	Do   FaultKind     `json:"do"`
	Node string        `json:"node"`
	// Process (kill, stop, freeze, resume, restart): DirectorProcess,
	// ResponderProcess or a command's name; empty: the node's director, else its
	// only command, else its responders.
	Process string `json:"process,omitempty"`
	// Interface (link-down, link-up, loss, delay, partition) is an interface of
	// the node or the network that it is on; empty: all that are on networks.
	Interface string `json:"interface,omitempty"`
	// With narrows loss and delay to what goes between Node and these nodes; for
	// a partition they are the other side.
	With      []string      `json:"with,omitempty"`
	Direction Direction     `json:"direction,omitempty"` // loss, delay, partition
	Loss      float64       `json:"loss,omitempty"`      // percent
	Delay     time.Duration `json:"delay,omitempty"`
	Jitter    time.Duration `json:"jitter,omitempty"` // delay: more or less by up to this
}

// OnProcess tells whether the fault is one of a process.
func (f Fault) OnProcess() bool {
	return slices.Contains([]FaultKind{FaultKill, FaultStop, FaultFreeze, FaultResume, FaultRestart}, f.Do)
}

// OnLine tells whether the fault is one of what is between nodes.
func (f Fault) OnLine() bool { return !f.OnProcess() && f.Do != FaultHeal }

// String is the fault in the words of `ipvslab fault`, which [ParseFault] reads.
func (f Fault) String() string {
	words := []string{f.Node, string(f.Do)}
	switch f.Do {
	case FaultLoss:
		words = append(words, strconv.FormatFloat(f.Loss, 'g', -1, 64)+"%")
	case FaultDelay:
		words = append(words, f.Delay.String())
		if f.Jitter != 0 {
			words = append(words, "+-"+f.Jitter.String())
		}
	}
	if f.Process != "" {
		words = append(words, f.Process)
	}
	if f.Do == FaultPartition {
		words = append(words, f.With...)
	}
	if f.Interface != "" {
		words = append(words, "on", f.Interface)
	}
	if f.Direction != "" {
		words = append(words, string(f.Direction))
	}
	if len(f.With) > 0 && f.Do != FaultPartition {
		words = append(append(words, "with"), f.With...)
	}
	return strings.Join(words, " ")
}

// ParseFault reads a fault as the command line says it: NODE WHAT and what
// belongs to it, in this order, each but the first optional:
//
//	kill, stop, freeze, resume, restart:  PROCESS
//	link-down, link-up:                   on INTERFACE
//	loss:                                 PERCENT on INTERFACE in|out with NODE...
//	delay:                                TIME +-JITTER on INTERFACE in|out with NODE...
//	partition:                            NODE... on INTERFACE in|out
//
// Except for a partition the word "on" may be left out.
func ParseFault(words []string) (Fault, error) {
	if len(words) < 2 {
		return Fault{}, errors.New("say NODE and what is to happen: " + joinKinds())
	}
	f := Fault{Node: words[0], Do: FaultKind(words[1])}
	if !slices.Contains(FaultKinds, f.Do) {
		return f, fmt.Errorf("no fault is called %q; %s", f.Do, choices(words[1], kindNames()))
	}
	rest, err := f.parseAmount(words[2:])
	if err != nil {
		return f, err
	}
	if rest, err = f.parseWhere(rest); err != nil {
		return f, err
	}
	switch {
	case f.Do == FaultPartition:
		f.With, rest = append(f.With, rest...), nil
	case len(rest) > 0 && f.OnProcess():
		f.Process, rest = rest[0], rest[1:]
	case len(rest) > 0 && f.OnLine() && f.Interface == "":
		f.Interface, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		return f, fmt.Errorf("%s %s: %q is one word too many", f.Node, f.Do, rest[0])
	}
	return f, f.Check()
}

// ParseTimedFault reads a fault with the time in front of it, in one text: "2s
// master kill".
func ParseTimedFault(text string) (Fault, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Fault{}, errors.New("say when and what, such as 2s NODE kill")
	}
	at, err := time.ParseDuration(words[0])
	if err != nil || at < 0 {
		return Fault{}, fmt.Errorf("%q is no time; say when first, such as 2s", words[0])
	}
	f, err := ParseFault(words[1:])
	f.At = at
	return f, err
}

// parseWhere takes off the words which packets are meant.
func (f *Fault) parseWhere(words []string) ([]string, error) {
	if !f.OnLine() {
		return words, nil
	}
	if i := slices.Index(words, "with"); i >= 0 {
		f.With, words = words[i+1:], words[:i]
		if len(f.With) == 0 {
			return nil, fmt.Errorf("%s %s: with whom?", f.Node, f.Do)
		}
	}
	if n := len(words); n > 0 && (words[n-1] == string(In) || words[n-1] == string(Out)) {
		f.Direction, words = Direction(words[n-1]), words[:n-1]
	}
	if n := len(words); n > 1 && words[n-2] == "on" {
		f.Interface, words = words[n-1], words[:n-2]
	}
	return words, nil
}

// parseAmount takes off the words how much is lost, or how late it comes.
func (f *Fault) parseAmount(words []string) ([]string, error) {
	if f.Do != FaultLoss && f.Do != FaultDelay {
		return words, nil
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("%s %s: how much? say %s", f.Node, f.Do, map[FaultKind]string{FaultLoss: "10%", FaultDelay: "50ms"}[f.Do])
	}
	var err error
	if f.Do == FaultLoss {
		f.Loss, err = parsePercent(words[0])
	} else {
		f.Delay, err = time.ParseDuration(words[0])
	}
	words = words[1:]
	if len(words) > 0 && err == nil && f.Do == FaultDelay && strings.HasPrefix(words[0], "+-") {
		f.Jitter, err = time.ParseDuration(words[0][2:])
		words = words[1:]
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", f.Node, f.Do, err)
	}
	return words, nil
}

func parsePercent(s string) (float64, error) {
	p, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return 0, fmt.Errorf("%q is no percentage from 0%% to 100%%", s)
	}
	return p, nil
}

func kindNames() []string {
	names := make([]string, len(FaultKinds))
	for i, k := range FaultKinds {
		names[i] = string(k)
	}
	return names
}

func joinKinds() string { return strings.Join(kindNames(), ", ") }

// maxDelay bounds delays: what is under way for longer is as good as lost.
const maxDelay = time.Minute

// Check tells what in the fault contradicts itself, whatever the lab.
func (f Fault) Check() error {
	var wrong []string
	unless := func(ok, set bool, what string) {
		if set && !ok {
			wrong = append(wrong, what+" has no meaning for "+string(f.Do))
		}
	}
	onLoss := f.Do == FaultLoss || f.Do == FaultDelay
	unless(f.OnProcess(), f.Process != "", "process")
	unless(f.OnLine(), f.Interface != "", "interface")
	unless(onLoss || f.Do == FaultPartition, len(f.With) > 0, "with")
	unless(onLoss || f.Do == FaultPartition, f.Direction != "", "direction")
	unless(f.Do == FaultLoss, f.Loss != 0, "loss")
	unless(f.Do == FaultDelay, f.Delay != 0 || f.Jitter != 0, "delay")
	switch {
	case f.Do == FaultPartition && len(f.With) == 0:
		wrong = append(wrong, "a partition needs another side: with NODE")
	case slices.Contains(f.With, f.Node):
		wrong = append(wrong, "a node can't be cut off from itself")
	case f.Delay < 0 || f.Delay > maxDelay:
		wrong = append(wrong, fmt.Sprintf("a delay is at most %v", maxDelay))
	case f.Jitter < 0 || f.Jitter > f.Delay:
		wrong = append(wrong, "the jitter is at most the delay")
	case f.Loss < 0 || f.Loss > 100:
		wrong = append(wrong, "the loss is 0% to 100%")
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", f, strings.Join(wrong, "; "))
}

// Processes names what of a node can be ended: the director first, if it is one.
func (n *Node) Processes(hasDirector bool) []string {
	var all []string
	if hasDirector {
		all = append(all, DirectorProcess)
	}
	for _, c := range n.Commands {
		all = append(all, c.Name)
	}
	if len(n.Responders) > 0 {
		all = append(all, ResponderProcess)
	}
	return all
}

// ProcessOf finds which process a fault without a name means: see [Fault].
func (n *Node) ProcessOf(f Fault, hasDirector bool) (string, error) {
	all := n.Processes(hasDirector)
	switch {
	case f.Process != "" && slices.Contains(all, f.Process):
		return f.Process, nil
	case f.Process != "":
		return "", fmt.Errorf("node %s has no process %q; %s", n.Name, f.Process, choices(f.Process, all))
	case hasDirector, len(all) == 1, len(n.Commands) == 1:
		return all[0], nil
	case len(all) == 0:
		return "", fmt.Errorf("node %s has no process to %s: neither a director that runs as one, nor a command, nor built-in servers", n.Name, f.Do)
	}
	return "", fmt.Errorf("node %s has several processes; say which: %s", n.Name, strings.Join(all, ", "))
}
