package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe"
)

// row is all that is known of a kernel.
type row struct {
	Date      string   `json:"date"`
	Kernel    kernel   `json:"kernel"`
	Facts     facts    `json:"facts"`
	BootError string   `json:"bootError,omitempty"`
	Results   []result `json:"results,omitempty"`
}

func (r row) failed() bool {
	return r.BootError != "" || slices.ContainsFunc(r.Results, func(x result) bool { return len(x.Failed) > 0 || x.Broken != "" })
}

// there: the kernel was seen running.
func (r row) there() bool { return r.Kernel.Missing == "" && r.BootError == "" }

// report is docs/kernels.md.
type report struct {
	rows []row
	body bytes.Buffer
}

func (r *report) write(path string) error {
	r.f("# Kernels\n\nWritten by `make matrix`: what was seen in each kernel, nothing else.\n")
	r.kernels()
	r.differences()
	r.suite()
	r.notes()
	if path == "" {
		_, err := os.Stdout.Write(r.body.Bytes())
		return err
	}
	if err := os.WriteFile(path, r.body.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (r *report) f(format string, args ...any) { fmt.Fprintf(&r.body, format, args...) }

func (r *report) kernels() {
	r.f("\n## The kernels\n\n| | kernel | runs in | boots | origin | seen on |\n|---|---|---|---|---|---|\n")
	for i, k := range r.rows {
		boots, in := "yes", map[string]string{"uml": "user-mode Linux", "qemu": "QEMU"}[k.Kernel.Image.Launcher]
		switch {
		case k.Kernel.Missing != "":
			boots = "not at hand: " + oneLine(k.Kernel.Missing)
		case k.BootError != "":
			boots = "**no**: " + oneLine(k.BootError)
		}
		r.f("| %s | %s | %s | %s | %s | %s |\n", letter(i), k.Kernel.Name, in, boots, k.Kernel.Image.Origin, k.Date)
	}
}

func letter(i int) string { return string(rune('A' + i)) }

// there are the kernels that were seen running, with their letters.
func (r *report) there() (rows []row, letters []string) {
	for i, k := range r.rows {
		if k.there() {
			rows, letters = append(rows, k), append(letters, letter(i))
		}
	}
	return rows, letters
}

// line is a line of a table: one value for each kernel.
type line struct {
	name   string
	values []string
}

func (l line) differs() bool { return len(slices.Compact(slices.Clone(l.values))) > 1 }

func (r *report) table(letters []string, lines []line) {
	r.f("| | %s |\n|---|%s\n", strings.Join(letters, " | "), strings.Repeat("---|", len(letters)))
	for _, l := range lines {
		r.f("| %s | %s |\n", l.name, strings.Join(l.values, " | "))
	}
}

func (r *report) differences() {
	rows, letters := r.there()
	if len(rows) == 0 {
		return
	}
	r.f("\n## What differs\n\nThe rules are found out by experiment (`oracle.Detect`), the features by trying them (package `probe`), each\n" +
		"setting is the default of a new namespace. What is not listed is the same in all of them.\n\n")
	lines := []line{
		{"load of a destination (lc, wlc, lblc, lblcr, twos)", each(rows, func(x row) string { return rule(x, string(x.Facts.Variant.Overhead)) })},
		{"largest upper threshold taken", each(rows, func(x row) string { return fmt.Sprint(x.Facts.MostUpper) })},
		{"overload flag", each(rows, func(x row) string { return rule(x, string(x.Facts.Variant.Overload)) })},
	}
	same := 0
	for _, name := range probe.All() {
		l := line{"`" + name + "`", each(rows, func(x row) string { return x.Facts.Report.Get(name).State.String() })}
		if !l.differs() {
			same++
			continue
		}
		lines = append(lines, l)
	}
	settings, equal := settingLines(rows)
	r.table(letters, append(lines, settings...))
	r.f("\nThe same in all: %d features, %d settings of `net.ipv4.vs`.\n", same, equal)
}

func rule(x row, seen string) string { return cmp.Or(seen, "not found out: "+oneLine(x.Facts.Unknown)) }

// byMemory is a setting whose default says more of the machine than of the
// kernel (ip_vs_sync.h, IPVS_SYNC_QLEN_MAX).
const byMemory = "net.ipv4.vs.sync_qlen_max"

// settingLines are those that not all kernels have, or with another default.
func settingLines(rows []row) (lines []line, same int) {
	all := map[string]bool{}
	for _, x := range rows {
		for name := range x.Facts.Sysctls {
			all[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l := line{"`" + name + "`", each(rows, func(x row) string {
			v, ok := x.Facts.Sysctls[name]
			switch {
			case !ok:
				return "missing"
			case name == byMemory:
				return "by the machine's memory"
			}
			return cmp.Or(v, "empty")
		})}
		if !l.differs() {
			same++
			continue
		}
		lines = append(lines, l)
	}
	return lines, same
}

func each(rows []row, show func(row) string) (values []string) {
	for _, x := range rows {
		values = append(values, show(x))
	}
	return values
}

func (r *report) suite() {
	rows, letters := r.there()
	var jobs []string
	for _, x := range rows {
		for _, res := range x.Results {
			if !slices.Contains(jobs, res.Job) {
				jobs = append(jobs, res.Job)
			}
		}
	}
	if jobs == nil {
		return
	}
	r.f("\n## The suite\n\nTests, their parts counted, as `passed`, or `failed` and `passed`; skipped ones are below. QEMU emulates the\n" +
		"processor: `make matrix` runs only a part there, and all of it with MATRIX=-full.\n\n")
	var lines []line
	for _, job := range jobs {
		lines = append(lines, line{job, each(rows, func(x row) string { return x.result(job).String() })})
	}
	r.table(letters, lines)
}

// result is that of the job; one that has not been run was left.
func (r row) result(job string) result {
	for _, res := range r.Results {
		if res.Job == job {
			return res
		}
	}
	return result{Job: job, Left: true}
}

// String is a cell of the table.
func (x result) String() string {
	switch {
	case x.Left:
		return "not run"
	case x.Broken != "":
		return "**broke off**: " + oneLine(x.Broken)
	}
	s := fmt.Sprintf("%d passed", x.Passed)
	if len(x.Failed) > 0 {
		s = fmt.Sprintf("**%d failed**, %s", len(x.Failed), s)
	}
	if len(x.Skipped) > 0 {
		s += fmt.Sprintf(", %d skipped", len(x.Skipped))
	}
	return s + fmt.Sprintf(" (%s)", x.Took.Round(time.Second))
}

// notes name what failed and why tests were skipped.
func (r *report) notes() {
	rows, letters := r.there()
	for i, x := range rows {
		for _, res := range x.Results {
			for _, name := range res.Failed {
				r.f("\n- %s: failed: `%s`", letters[i], name)
			}
			for _, name := range slices.Sorted(maps.Keys(res.Skipped)) {
				r.f("\n- %s: skipped: `%s`: %s", letters[i], name, oneLine(res.Skipped[name]))
			}
		}
	}
	r.f("\n")
}

// oneLine keeps a message within a table, and the machine's paths out of it.
func oneLine(s string) string {
	if home, err := os.UserHomeDir(); err == nil {
		s = strings.ReplaceAll(s, home, "~")
	}
	s = strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "/")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}
