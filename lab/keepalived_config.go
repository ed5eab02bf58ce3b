package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/topology"
)

// ErrDirectorConfig is a configuration of the user's that a director's program
// does not accept as it is, or not here.
var ErrDirectorConfig = errors.New("does not accept its configuration")

// What keepalived 2.2 says (lib/parser.c, lib/keepalived_magic.h, core/global_parser.c,
// lib/notify.c).
var (
	missingFile     = regexp.MustCompile(`Config files missing '([^'*?\[{]+)'`) // a pattern may match nothing
	noInterface     = regexp.MustCompile(`interface (\S+) .*doesn't exist`)
	testUnknown     = regexp.MustCompile(`(unrecognized|invalid) option`)
	scriptDisabled  = regexp.MustCompile(`(?i)\bdisabling\b`)
	scriptNotCalled = regexp.MustCompile(`^Script (\S+) cannot be accessed`)
	stateEntered    = regexp.MustCompile(`(?i)\) entering \w+ state`)
	checksBegun     = regexp.MustCompile(`(?i)\bactivating healthchecker\b`)
	// What keepalived mends by itself, or only remarks.
	remark  = regexp.MustCompile(`must match being address owner|is deprecated|SECURITY VIOLATION|NOTICE|(?i)\bwarning\b`)
	logTime = regexp.MustCompile(`^\w{3} \w{3} +\d+ [\d:]+ \d{4}: `)
)

const scriptHint = "A script must be there and executable, and with enable_script_security writable by root alone, its directories too. " +
	"A path that does not begin with / begins at the configuration file."

// tryConfig has keepalived look at a configuration of the user's as it will
// find it: in the node, by its config-id. The lab's own need no test.
func (b *builder) tryConfig(ctx context.Context, node *Node, d *topology.DirectorPlan, spec ExecSpec) error {
	if d.Kind != topology.Keepalived || d.Config == "" {
		return nil
	}
	var out bytes.Buffer
	spec.Argv = []string{spec.Argv[0], "--config-test", "--use-file", b.beside(d.Config), "--config-id", d.Node}
	spec.Stdout, spec.Stderr = &out, &out
	status, err := node.Exec(ctx, spec)
	if err != nil {
		return err
	}
	text := out.String()
	if status == 0 && !missingFile.MatchString(text) || testUnknown.MatchString(text) { // versions before 2.0 can't test
		return nil
	}
	said := distinct(text)
	serious := slices.DeleteFunc(slices.Clone(said), remarked)
	switch {
	case len(said) == 0:
		serious = []string{fmt.Sprintf("(it says nothing, and ends with status %d)", status)}
	case len(serious) == 0:
		b.warn(fmt.Sprintf("director of node %s (%s) says of %s:\n%s", d.Node, d.Kind, d.Config, indent(strings.Join(said, "\n"))))
		return nil
	}
	hint := interfaceHint(node, text)
	if hint == "" && slices.ContainsFunc(serious, scriptDisabled.MatchString) {
		hint = scriptHint
	}
	return b.refuse(d, serious, hint)
}

// remarked tells whether a line is about something that keepalived can do
// without. Without an interface there is nothing that it could do.
func remarked(line string) bool {
	return remark.MatchString(line) && !strings.Contains(line, "doesn't exist")
}

// refuse is an error, or a warning where the file allows it.
func (b *builder) refuse(d *topology.DirectorPlan, said []string, hint string) error {
	text := fmt.Sprintf("%s; in node %s keepalived says:\n%s", d.Config, d.Node, indent(strings.Join(said, "\n")))
	if hint != "" {
		text += "\n" + hint
	}
	if d.Lax {
		b.warn(fmt.Sprintf("director of node %s (%s) %v: %s [%s]", d.Node, d.Kind, ErrDirectorConfig, text, topology.DirectorConfig))
		return nil
	}
	return fmt.Errorf("it %w: %s\n(allow: [%s] in the topology file makes it a warning)", ErrDirectorConfig, text, topology.DirectorConfig)
}

// warn tells what did not stop the lab, if anybody listens.
func (b *builder) warn(text string) {
	if b.opts.Warn != nil {
		b.opts.Warn(text)
	}
}

// distinct are the lines of a text, each once: each of keepalived's processes says them.
func distinct(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// interfaceHint says what the node's interfaces are called, where one that the
// configuration names is not among them.
func interfaceHint(node *Node, said string) string {
	m := noInterface.FindStringSubmatch(said)
	if m == nil {
		return ""
	}
	var names []string
	example := ""
	for _, i := range node.plan.Interfaces {
		text := i.Name
		if len(i.Addresses) > 0 {
			text += " (" + i.Addresses[0].Prefix.String() + ")"
			if example == "" {
				example = fmt.Sprintf("%s: {name: %s, addresses: [%s]}", i.Network, m[1], i.Addresses[0].Prefix.Addr())
			}
		}
		names = append(names, text)
	}
	return fmt.Sprintf("The interfaces of node %s are %s. Give them the names that the configuration has, such as interfaces: {%s}.",
		node.Name(), strings.Join(names, ", "), example)
}

// judgeLog looks in a keepalived's log for scripts of the user's that it can't
// run: a server whose check is not done counts as up, and the verdict on the
// lab would be worth nothing.
func (b *builder) judgeLog(d *topology.DirectorPlan, log string) error {
	if d.Kind != topology.Keepalived || d.Config == "" {
		return nil
	}
	data, err := os.ReadFile(log)
	if err != nil {
		return fmt.Errorf("read its log: %w", err)
	}
	var disabled, uncalled []string
	for line := range strings.Lines(string(data)) {
		line = logTime.ReplaceAllString(strings.TrimSpace(line), "")
		switch {
		case scriptDisabled.MatchString(line):
			disabled = append(disabled, line)
		case scriptNotCalled.MatchString(line):
			uncalled = append(uncalled, line)
		}
	}
	disabled = distinct(strings.Join(disabled, "\n"))
	if len(disabled) > 0 {
		return b.refuse(d, append(distinct(strings.Join(uncalled, "\n")), disabled...), scriptHint)
	}
	for _, line := range distinct(strings.Join(uncalled, "\n")) {
		b.warn(fmt.Sprintf("director of node %s (%s): %s: it will not be called", d.Node, d.Kind, line))
	}
	return nil
}

// vipsLook looks whether a keepalived with VRRP instances has the addresses
// that the plan gives its node for good. It takes them off when it starts, and
// puts them on when it has become master.
func (b *builder) vipsLook(d *topology.DirectorPlan, node *Node) error {
	dir := directorDir(b.dir, d.Node)
	if _, err := os.Stat(filepath.Join(dir, vrrpPID)); err != nil || d.Config == "" {
		return nil //nolint:nilerr // it has no VRRP instance
	}
	log, err := node.DirectorLog()
	if err != nil {
		return err
	}
	if !stateEntered.Match(lastRun(log)) {
		return errors.New("none of keepalived's vrrp_instances has entered a state")
	}
	have, err := node.addresses()
	if err != nil {
		return fmt.Errorf("read addresses: %w", err)
	}
	var lacks []string
	for _, a := range ownVIPs(node) {
		if !have[a] {
			lacks = append(lacks, a.String())
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("the node does not have the VIP %s: keepalived took it off, and its vrrp_instance is not master", strings.Join(lacks, ", "))
	}
	return nil
}

// lastRun is what a keepalived has said since it started; others before it have
// written to the same log.
func lastRun(log []byte) []byte {
	return log[max(0, bytes.LastIndex(log, []byte("Starting Keepalived"))):]
}

// ownVIPs are the virtual addresses that the plan has on a node's interfaces.
func ownVIPs(node *Node) []netip.Addr {
	var out []netip.Addr
	for _, i := range node.plan.Interfaces {
		for _, a := range i.Addresses {
			if a.VIP {
				out = append(out, a.Prefix.Addr())
			}
		}
	}
	return out
}
