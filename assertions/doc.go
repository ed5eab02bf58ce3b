// Package assertions holds gomega matchers for labs: what a director's table,
// its connection entries, captured packets and a run of a client must show. A
// mismatch comes with the evidence in its message; an actual of the wrong type
// is an error.
//
// The package knows no scenario and brings nothing up; it may be used with any
// gomega, by any project. It must not import scenarios or the guest.
package assertions

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// table renders rows of cells, aligned and indented.
func table(rows ...[]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, "    "+strings.Join(r, "\t"))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return strings.TrimRight(b.String(), "\n")
}

// keysOf are the keys of all maps, sorted.
func keysOf(ms ...map[string]int) []string {
	all := map[string]bool{}
	for _, m := range ms {
		for k := range m {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
