package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/topology"
)

// hints are what the reader of a verdict should know of, and what no plan tells.
func (st *stage) hints() {
	var hints []string
	if faults, err := st.lab.Faults(); err == nil {
		for _, f := range faults {
			hints = append(hints, fmt.Sprintf("a fault is in force: %s (`ipvslab fault` mends it by heal)", f))
		}
	}
	for _, n := range st.lab.Nodes() {
		if filters := packetFilters(n); filters != "" {
			hints = append(hints, fmt.Sprintf("node %s has packet filters that are none of the lab's: %s", n.Name(), filters))
		}
	}
	st.hint(hints...)
}

// hint notes what has not been noted before.
func (st *stage) hint(hints ...string) {
	for _, h := range hints {
		if !slices.Contains(st.hinted, h) {
			st.hinted = append(st.hinted, h)
			note("%s", h)
		}
	}
}

// hintAtTables says with a failure what the tables have that they did not have
// when they were looked at first, or that nobody has looked for. Those of
// services whose real servers are checked may change.
func (st *stage) hintAtTables(ctx context.Context) {
	visited := slices.ContainsFunc(st.services, func(s *service) bool { return s.touched })
	if !visited || slices.ContainsFunc(st.services, func(s *service) bool { return s.watched() }) {
		return
	}
	lines := strings.Join(news(st.unplanned(ctx), st.first.tables), "\n")
	if lines != "" && !strings.Contains(ginkgo.CurrentSpecReport().Failure.Message, lines) {
		st.hint(lines)
	}
}

// keepalivedSays is what keepalived's log has of the real servers that it should
// have and has not, or has with another weight: mostly that a check failed.
func (st *stage) keepalivedSays(node string, want, have []lb.Service) string {
	if d := st.plan.DirectorOf(node); d == nil || d.Kind != topology.Keepalived {
		return ""
	}
	log, err := st.node(node).DirectorLog()
	if err != nil {
		return fmt.Sprintf("\n    what keepalived says of it can't be read: %v", err)
	}
	said := ""
	for _, c := range lb.Diff(have, want, lb.DiffOptions{}) {
		if c.Op != lb.AddDestination && c.Op != lb.EditDestination {
			continue
		}
		for _, line := range failures(string(log), c.Destination.Addr) {
			if !strings.Contains(said, line) {
				said += "\n    keepalived says: " + line
			}
		}
	}
	return said
}

// keepalivedWarns finds the lines in which a checker tells that a real server,
// which stands in brackets, is not well.
var keepalivedWarns = regexp.MustCompile(`(?i)fail|error|timeout|removing|disabling|refused|unreachable`)

// failures are the last two lines about a real server that is not well, without their time.
func failures(log string, addr netip.Addr) (lines []string) {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "["+addr.String()+"]") || !keepalivedWarns.MatchString(line) {
			continue
		}
		if _, text, ok := strings.Cut(line, ": "); ok {
			line = text
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines[max(0, len(lines)-2):]
}

// packetFilters names the tables of iptables and nft in a node. Those of
// iptables are there once they have been used (net/netfilter/x_tables.c,
// xt_register_table). What can't be read is not known.
func packetFilters(n *lab.Node) string {
	var found []string
	_ = n.Do(func() error {
		for _, program := range []string{"ip", "ip6"} {
			names, _ := os.ReadFile("/proc/thread-self/net/" + program + "_tables_names")
			for _, name := range strings.Fields(string(names)) {
				found = append(found, program+"tables "+name)
			}
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		for _, t := range tables {
			found = append(found, "nft "+t.Name)
		}
		return err
	})
	return strings.Join(found, ", ")
}

// state is what was wrong with a lab's nodes and tables at one time.
type state struct{ links, settings, tables error }

// unchanged fails for what has gone wrong since the first specs, which found
// the rest: another program may change things while a lab is tested.
func (st *stage) unchanged(ctx context.Context) {
	var now state
	changes := func() []string {
		return slices.Concat(news(now.links, st.first.links), news(now.settings, st.first.settings), news(now.tables, st.first.tables))
	}
	within := st.settleTimeout()
	for _, s := range st.services {
		if s.watched() {
			within = max(within, s.verdictTime())
		}
	}
	err := until(ctx, within, func() (bool, error) {
		now = state{links: st.wrongLinks(), settings: st.wrongSettings(ctx), tables: st.unplanned(ctx)}
		return len(changes()) == 0, nil
	})
	if errors.Is(err, errSlow) {
		err = fmt.Errorf("the lab has changed since it was looked at first:\n%s", strings.Join(changes(), "\n"))
	}
	must(err)
}

// news are the lines of an error that an earlier one did not have, below the
// heading (which ends with a colon) that they belong to.
func news(now, before error) []string {
	if now == nil {
		return nil
	}
	var known, fresh []string
	if before != nil {
		known = strings.Split(before.Error(), "\n")
	}
	heading := ""
	for line := range strings.Lines(now.Error()) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasSuffix(line, ":"):
			heading = line
		case !slices.Contains(known, line):
			if heading != "" {
				fresh = append(fresh, heading)
			}
			fresh, heading = append(fresh, line), ""
		}
	}
	return fresh
}
