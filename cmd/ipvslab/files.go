package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipvslab/ipvslab/topology"
)

// openPlan reads a topology file. Warnings go to standard error; mistakes are
// one error with all of them.
func (a *app) openPlan(path, name string) (*topology.Plan, error) {
	plan, problems, err := topology.Open(path, name)
	if err != nil {
		return nil, usageError{err}
	}
	for _, p := range problems {
		fmt.Fprintln(a.err, p)
	}
	return plan, nil
}

// labArg is the name of the lab that an argument means: the name itself, or
// that of the lab in a file. The file need not be there any more: then it is
// the name that the file's own would have given.
func labArg(arg string) (string, error) {
	if !strings.ContainsAny(arg, "./") {
		return arg, nil
	}
	if t, err := topology.Load(arg); err == nil {
		if plan, _ := t.Plan(topology.Options{}); plan != nil {
			return plan.Name, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) && !isProblems(err) {
		return "", err
	}
	base := filepath.Base(arg)
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
