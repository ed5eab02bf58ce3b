package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/internal/story"
)

func newTutorial(a *app) *cobra.Command {
	var step int
	c := &cobra.Command{
		Use:   "tutorial FILE",
		Short: "Play the LVS tutorial as a story, its mistakes included, to its working end",
		Long: fmt.Sprintf(`Tutorial brings up the tutorial's lab, carries its steps out in the kernel and
explains what is seen; it fails at the first step that does not show what it
must. The lab stays up. The story has %d steps.`, story.Steps()),
		Example:           "  ipvslab tutorial examples/article.yaml\n  ipvslab tutorial --step 6 examples/article.yaml",
		SuggestFor:        []string{"demo", "story", "lab"},
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := a.openLab(args[0], "")
			if err != nil {
				return err
			}
			req := launch.Request{Need: launch.Needs(plan, false), NewLab: plan.Name, Join: true, Background: true}
			return a.run(c.Context(), req, func(ctx context.Context) error {
				return story.Play(ctx, story.Options{Plan: plan, Step: step, Out: a.out, Color: a.colour()})
			})
		},
	}
	c.Flags().IntVar(&step, "step", 1, "the first step to show; those before are carried out in silence")
	return c
}

// colour says whether output may be coloured: on a terminal, unless NO_COLOR is set.
func (a *app) colour() bool {
	f, ok := a.out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}
