package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
)

func newUp(a *app) *cobra.Command {
	var name string
	var noServices bool
	c := &cobra.Command{
		Use:               "up FILE",
		Short:             "Bring a lab up; it stays until `down`",
		SuggestFor:        []string{"deploy", "apply", "create", "start"},
		Example:           "  ipvslab up examples/article.yaml\n  ipvslab up --name mine examples/article.yaml",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := a.openLab(args[0], name)
			if err != nil {
				return err
			}
			req := launch.Request{Need: launch.Needs(plan, noServices), NewLab: plan.Name, Background: true}
			return a.run(c.Context(), req, func(ctx context.Context) error {
				opts := lab.Options{Agent: lab.Detached, NoServices: noServices, Progress: a.progress(), Warn: a.warn}
				if _, err := lab.Up(ctx, plan, opts); err != nil {
					return err
				}
				fmt.Fprintf(a.out, "lab %s is up: %s, %s\n", plan.Name, count(len(plan.Nodes), "node"), count(len(plan.Services), "service"))
				return nil
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "the lab's name, instead of the file's")
	c.Flags().BoolVar(&noServices, "no-services", false, "leave the directors' tables empty")
	return c
}

func newDown(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:        "down LAB...",
		Short:      "Take labs down, by name or by file, from anywhere; what isn't there is no error",
		SuggestFor: []string{"destroy", "delete", "remove", "rm", "stop"},
		Example:    "  ipvslab down article\n  ipvslab down examples/article.yaml\n  ipvslab down --all",
		Args: func(c *cobra.Command, args []string) error {
			if all != (len(args) == 0) {
				return fmt.Errorf("name the labs, or say --all")
			}
			return nil
		},
		ValidArgsFunction: a.completeLabs,
		RunE: func(c *cobra.Command, args []string) error {
			if all {
				return a.launcher().EachLab(c.Context(), func(ctx context.Context, name string) error { return a.down(ctx, name) })
			}
			var errs []error
			for _, arg := range args {
				errs = append(errs, a.downWherever(c.Context(), arg))
			}
			return errors.Join(errs...)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every lab that is up")
	return c
}

// downWherever takes a lab down in the kernel that holds it.
func (a *app) downWherever(ctx context.Context, arg string) error {
	name, err := a.labArg(ctx, arg)
	if err != nil {
		return err
	}
	req := launch.Request{Lab: name, Ends: true, Argv: []string{"down", name}}
	return a.run(ctx, req, func(ctx context.Context) error { return a.down(ctx, name) })
}

func (a *app) down(ctx context.Context, name string) error {
	slow := time.AfterFunc(patience, func() { fmt.Fprintf(a.err, "ipvslab: ending lab %s, or waiting for whoever works on it ...\n", name) })
	defer slow.Stop()
	found, err := lab.Down(ctx, name)
	if err != nil {
		return err
	}
	if found {
		fmt.Fprintf(a.out, "lab %s is down\n", name)
	} else {
		fmt.Fprintf(a.out, "lab %s was not up\n", name)
	}
	return nil
}
