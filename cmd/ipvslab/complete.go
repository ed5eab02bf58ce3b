package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/guest/choose"
	"github.com/ipvslab/ipvslab/internal/guest/image"
)

// completion is what cobra asks for the words that an argument may be.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeFiles offers topology files.
func completeFiles(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeLabs offers the labs that are up.
func (a *app) completeLabs(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, err := a.launcher().LabNames(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeNodes offers the nodes of the lab that is up, or of all as LAB/NODE.
func (a *app) completeNodes(labName *string) completion {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		labs, _ := a.launcher().Labs(c.Context()) // offer what there is
		var words []string
		for _, l := range labs {
			if *labName != "" && l.Name != *labName {
				continue
			}
			prefix := l.Name + "/"
			if len(labs) == 1 || *labName != "" {
				prefix = ""
			}
			for _, n := range l.Nodes {
				words = append(words, prefix+n.Name+"\t"+string(n.Role)+" of "+l.Name)
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlags offers values for flags that are the same everywhere.
func (a *app) completeFlags(root *cobra.Command) {
	kernels := func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		if strings.Contains(word, "/") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return []string{choose.Auto, choose.Host, image.UML, image.QEMU}, cobra.ShellCompDirectiveNoFileComp
	}
	register(root, "kernel", kernels)
	for _, c := range root.Commands() {
		if c.Flags().Lookup("lab") != nil {
			register(c, "lab", a.completeLabs)
		}
	}
}

// register fails only for a flag that is not there, which is a mistake in the program.
func register(c *cobra.Command, flag string, f completion) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}
