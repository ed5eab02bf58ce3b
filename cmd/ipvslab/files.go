package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/topology"
)

// openPlan reads a topology file and reports on it: one line for each mistake
// and each warning. In a guest the report has been made already.
func (a *app) openPlan(path, name string) (*topology.Plan, error) {
	plan, problems, err := topology.Open(path, name)
	if err != nil && !isProblems(err) {
		return nil, usageError{err}
	}
	if !launch.Inside() || err != nil {
		for _, p := range problems {
			fmt.Fprintln(a.err, p)
		}
	}
	if err != nil {
		return nil, launch.ExitStatus(exitUsage)
	}
	return plan, nil
}

// openKept is openPlan where the file is read more than once: here, in a guest,
// and by later commands.
func (a *app) openKept(path, name string) (*topology.Plan, error) {
	info, err := os.Stat(path)
	if path == topology.Stdin || err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, usageError{fmt.Errorf("read topology: %s can be read only once; save it as a file (validate and plan take it as it is)", path)}
	}
	return a.openPlan(path, name)
}

// openLab is openKept for a lab that is going to be made: its record tells the
// file from any directory.
func (a *app) openLab(path, name string) (*topology.Plan, error) {
	plan, err := a.openKept(path, name)
	if err != nil {
		return nil, err
	}
	if plan.Source, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	return plan, nil
}

// labArg is the name of the lab that an argument means: the name itself, or
// that of the lab made from a file. The file may have been edited or be gone:
// the lab's record says which it was made from.
func (a *app) labArg(ctx context.Context, arg string) (string, error) {
	if !strings.ContainsAny(arg, "./") {
		return arg, nil
	}
	own, err := nameIn(arg)
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(arg)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", arg, err)
	}
	labs, err := a.launcher().Labs(ctx)
	var from []string
	for _, l := range labs {
		if l.Source == path {
			from = append(from, l.Name)
		}
	}
	switch {
	case len(from) == 0 && err != nil:
		return "", err
	case len(from) == 0, slices.Contains(from, own):
		return own, nil
	case len(from) > 1:
		return "", usageError{fmt.Errorf("several labs were made from %s: %s; say which", arg, strings.Join(from, ", "))}
	}
	return from[0], nil
}

// nameIn is the name that a file gives to its lab, or would give if it were
// there and in order.
func nameIn(path string) (string, error) {
	if t, err := topology.Load(path); err == nil {
		if plan, _ := t.Plan(topology.Options{}); plan != nil {
			return plan.Name, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) && !isProblems(err) {
		return "", usageError{err}
	}
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base)), nil
}

func isProblems(err error) bool {
	var ps topology.Problems
	return errors.As(err, &ps)
}

// printJSON writes v, indented.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
