package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity tells what can't work from what will surprise.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the lab can't work: there is no plan
	Warning Severity = "warning" // the lab comes up, but will surprise
)

// Pos is a place in a file. Lines and columns count from 1; a zero line means
// that the problem belongs to the file as a whole.
type Pos struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is file:line:column, as compilers and editors write it.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing wrong with a topology file.
type Problem struct {
	Severity Severity `json:"severity"`
	Pos      Pos      `json:"pos"`
	Path     string   `json:"path,omitempty"` // of keys, such as nodes.rs1.interfaces.inside
	Message  string   `json:"message"`        // what was found
	Hint     string   `json:"hint,omitempty"` // what is allowed, or what to do
	ID       string   `json:"id,omitempty"`   // the failure mode it leads to (see FailureModes)
}

// String is the problem on one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Pos.String() + ": ")
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	if p.ID != "" {
		b.WriteString(" [" + p.ID + "]")
	}
	return b.String()
}

// Problems are all the problems of a file, in the file's order. As an error it
// prints one line each. An empty list is no error: ask [Problems.Err].
type Problems []Problem

// Error is one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Errors are those problems that leave the file without a plan.
func (ps Problems) Errors() Problems { return ps.of(Error) }

// Warnings are the others.
func (ps Problems) Warnings() Problems { return ps.of(Warning) }

func (ps Problems) of(s Severity) Problems {
	var out Problems
	for _, p := range ps {
		if p.Severity == s {
			out = append(out, p)
		}
	}
	return out
}

// Err is nil if there are at most warnings, else the errors.
func (ps Problems) Err() error {
	if errs := ps.Errors(); len(errs) > 0 {
		return errs
	}
	return nil
}

// sort puts the problems in the order of the file.
func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
}
