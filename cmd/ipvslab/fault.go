package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// everyNode stands for all nodes in `fault all heal`, unless a node is called so.
const everyNode = "all"

func newFault(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "fault [LAB/]NODE WHAT [ARG...]",
		Short: "Make something go wrong in a lab on purpose, and mend it again",
		Long: `Fault does one thing to a node, reads back that it took effect, and prints what
is then in force in the lab. What is in force is shown by status as well, and
ends with heal, or with the lab.

  kill, stop [PROCESS]             end it by SIGKILL or SIGTERM
  freeze, resume [PROCESS]         stop it without its noticing; let it go on
  restart [PROCESS]                start it again
  link-down, link-up [INTERFACE]   pull the cable (of all interfaces), put it in
  loss PERCENT [INTERFACE]         lose packets at random; 0% ends it
  delay TIME [+-JITTER] [INTERFACE]  let them come late; 0s ends it
  partition NODE...                let nothing through between the node and these
  heal                             undo all of it; "all heal": in the whole lab

PROCESS is director, a command's name, or responders (a node's built-in
servers); it is needed only where a node has several. INTERFACE may be the
network's name. Loss, delay and partition take "in" or "out" after it (packets
to or from the node; both, if it is left out), and loss and delay "with NODE..."
at the end: only what goes between the two.`,
		Example: "  ipvslab fault master kill\n  ipvslab fault master loss 30% outside with backup\n" +
			"  ipvslab fault master partition backup\n  ipvslab fault all heal",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeFault,
		RunE: func(c *cobra.Command, args []string) error {
			labName, nodeName, err := a.nodeRef(c.Context(), "", args[0])
			if err != nil {
				return err
			}
			words := append([]string{nodeName}, args[1:]...)
			f, err := topology.ParseFault(words)
			if err != nil {
				return usageError{fmt.Errorf("%w\nusage: %s", err, c.UseLine())}
			}
			argv := append([]string{"fault", labName + "/" + nodeName}, args[1:]...)
			if asJSON {
				argv = append(argv, "--json")
			}
			req := launch.Request{Lab: labName, MustExist: true, Argv: argv}
			return a.run(c.Context(), req, func(ctx context.Context) error { return a.fault(ctx, labName, f, asJSON) })
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print what is in force as JSON")
	return c
}

func (a *app) fault(ctx context.Context, labName string, f topology.Fault, asJSON bool) error {
	l, err := lab.Load(labName)
	if err != nil {
		return err
	}
	_, err = l.Node(f.Node)
	switch {
	case f.Node == everyNode && f.Do == topology.FaultHeal && err != nil:
		_, err = l.Heal(ctx)
	case err != nil:
		return usageError{err}
	default:
		_, err = l.Fault(ctx, f)
	}
	if err != nil {
		return err
	}
	faults, err := l.Faults()
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(append([]topology.Fault{}, faults...))
	}
	if len(faults) == 0 {
		fmt.Fprintf(a.out, "lab %s: no fault is in force\n", l.Name())
	}
	for _, f := range faults {
		fmt.Fprintf(a.out, "in force: %s\n", f)
	}
	return nil
}

// completeFault offers nodes, then faults, then what the fault is about.
func (a *app) completeFault(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	switch len(args) {
	case 0:
		return a.completeNodes(new(string))(c, args, word)
	case 1:
		var kinds []string
		for _, k := range topology.FaultKinds {
			kinds = append(kinds, string(k))
		}
		return kinds, none
	}
	node, others := a.faultNode(c.Context(), args[0])
	if node == nil {
		return nil, none
	}
	f := topology.Fault{Do: topology.FaultKind(args[1])}
	switch {
	case f.Do == topology.FaultPartition || slices.Contains(args, "with"):
		return others, none
	case f.OnProcess():
		return node.Processes, none
	case f.Do == topology.FaultLinkDown, f.Do == topology.FaultLinkUp, len(args) == 3 && f.OnLine():
		return node.Interfaces, none
	case len(args) > 3 && f.OnLine():
		return []string{string(topology.In), string(topology.Out), "with"}, none
	}
	return nil, none
}

// faultNode finds a node of a lab that is up, and the names of the others.
func (a *app) faultNode(ctx context.Context, ref string) (node *lab.NodeStatus, others []string) {
	labName, nodeName, _ := strings.Cut(ref, "/")
	if nodeName == "" {
		labName, nodeName = "", ref
	}
	labs, _ := a.launcher().Labs(ctx) // offer what there is
	for _, l := range labs {
		if labName != "" && l.Name != labName {
			continue
		}
		for i := range l.Nodes {
			if l.Nodes[i].Name == nodeName {
				node = &l.Nodes[i]
			} else {
				others = append(others, l.Nodes[i].Name)
			}
		}
	}
	return node, others
}
