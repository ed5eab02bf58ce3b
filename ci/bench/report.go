package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// figure is one section of the report.
type figure struct {
	title string
	about string // what is measured, and how
	// measure does the work; an error stands in the report in place of the results.
	measure func(context.Context) (findings, error)
	wanted  []comparison
}

// comparison is a ratio that is wanted: that of two of the contenders' times.
type comparison struct {
	ours, theirs string  // contenders' names
	limit        float64 // at most this; zero: only to be known
}

// findings are what a figure's measurement found.
type findings struct {
	timings []timing
	values  []value
}

// value is a quantity that is not a race.
type value struct {
	what, amount string
	wanted       string // with the verdict; empty: only to be known
}

// report collects the sections.
type report struct {
	machine   machine
	loadAfter string
	body      bytes.Buffer
}

// add measures a figure and writes its section.
func (r *report) add(ctx context.Context, f figure) {
	fmt.Fprintf(&r.body, "\n## %s\n\n%s\n", f.title, f.about)
	found, err := f.measure(ctx)
	if err != nil {
		fmt.Fprintf(&r.body, "\nNot measured: %s.\n", oneLine(err.Error()))
		return
	}
	r.times(found.timings)
	r.comparisons(f.wanted, found.timings)
	r.values(found.values)
}

func (r *report) times(timings []timing) {
	if len(timings) == 0 {
		return
	}
	fmt.Fprint(&r.body, "\n| | median | least | most | runs |\n|---|---:|---:|---:|---:|\n")
	var failed []timing
	for _, t := range timings {
		if len(t.Times) == 0 {
			failed = append(failed, t)
			continue
		}
		fmt.Fprintf(&r.body, "| %s | %s | %s | %s | %d |\n", t.Name,
			milliseconds(median(t.Times)), milliseconds(slices.Min(t.Times)), milliseconds(slices.Max(t.Times)), len(t.Times))
	}
	for _, t := range failed {
		fmt.Fprintf(&r.body, "\nNot measured: %s: %s.\n", t.Name, oneLine(t.Error))
	}
}

func (r *report) comparisons(wanted []comparison, timings []timing) {
	if len(wanted) == 0 {
		return
	}
	fmt.Fprint(&r.body, "\n| ratio, round by round | median | least | most | wanted |\n|---|---:|---:|---:|---|\n")
	for _, c := range wanted {
		all, err := ratios(find(timings, c.ours), find(timings, c.theirs))
		if err != nil {
			fmt.Fprintf(&r.body, "| %s / %s | | | | %s: not measured |\n", c.ours, c.theirs, atMost(c.limit))
			continue
		}
		m := median(all)
		fmt.Fprintf(&r.body, "| %s / %s | %.2f | %.2f | %.2f | %s |\n", c.ours, c.theirs,
			m, slices.Min(all), slices.Max(all), verdict(c.limit, m))
	}
}

func (r *report) values(values []value) {
	if len(values) == 0 {
		return
	}
	fmt.Fprint(&r.body, "\n| | | wanted |\n|---|---:|---|\n")
	for _, v := range values {
		fmt.Fprintf(&r.body, "| %s | %s | %s |\n", v.what, v.amount, v.wanted)
	}
}

// find is empty for a contender that there is not.
func find(timings []timing, name string) timing {
	for _, t := range timings {
		if t.Name == name {
			return t
		}
	}
	return timing{Name: name}
}

func atMost(limit float64) string {
	if limit == 0 {
		return ""
	}
	return fmt.Sprintf("≤ %g", limit)
}

func verdict(limit, found float64) string {
	switch {
	case limit == 0:
		return ""
	case found <= limit:
		return atMost(limit) + ": met"
	}
	return atMost(limit) + ": **missed**"
}

func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// oneLine keeps a message within a table or a sentence.
func oneLine(s string) string {
	return strings.TrimRight(strings.Join(strings.Fields(s), " "), ".")
}

// WriteTo implements io.WriterTo.
func (r *report) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprint(&b, "# Benchmarks\n\nWritten by `make bench`. The contenders of a table took turns (A B C, C B A, …) after one round\n"+
		"that does not count; a ratio is taken within each round, and its median is compared with what is wanted.\n")
	r.machine.describe(&b, r.loadAfter)
	b.Write(r.body.Bytes())
	return b.WriteTo(w)
}

func (r *report) writeFile(path string) error {
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		return err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
