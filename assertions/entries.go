package assertions

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/onsi/gomega/types"

	"github.com/ipvslab/ipvslab/lb"
)

// Entry is what a connection entry must say; zero fields are not looked at.
type Entry struct {
	Protocol              lb.Protocol
	Client, Virtual, Real netip.AddrPort
	States                []string      // one of these, as the kernel names them (ip_vs_proto_tcp.c)
	AtMost                time.Duration // its timer
}

func (e Entry) matches(c lb.Conn) bool {
	return (e.Protocol == 0 || e.Protocol == c.Protocol) &&
		(!e.Client.IsValid() || e.Client == c.Client) &&
		(!e.Virtual.IsValid() || e.Virtual == c.Virtual) &&
		(!e.Real.IsValid() || e.Real == c.Real) &&
		(len(e.States) == 0 || slices.Contains(e.States, c.State)) &&
		(e.AtMost == 0 || c.Expires <= e.AtMost)
}

func (e Entry) String() string {
	protocol := "any protocol"
	if e.Protocol != 0 {
		protocol = e.Protocol.String()
	}
	s := fmt.Sprintf("%s %s -> %s -> %s", protocol, orAny(e.Client), orAny(e.Virtual), orAny(e.Real))
	if len(e.States) > 0 {
		s += " in " + strings.Join(e.States, " or ")
	}
	if e.AtMost > 0 {
		s += " for at most " + e.AtMost.String()
	}
	return s
}

func orAny(a netip.AddrPort) string {
	if !a.IsValid() {
		return "any"
	}
	return a.String()
}

// HaveEntry succeeds when one connection entry is like the given one. Several
// are an error, so that neither Should nor ShouldNot takes them for one or
// none. Its actual is a []lb.Conn.
func HaveEntry(want Entry) types.GomegaMatcher { return &haveEntry{want} }

type haveEntry struct{ want Entry }

// Match implements types.GomegaMatcher.
func (m *haveEntry) Match(actual any) (bool, error) {
	conns, ok := actual.([]lb.Conn)
	if !ok {
		return false, fmt.Errorf("HaveEntry takes a []lb.Conn, not %T", actual)
	}
	var alike []lb.Conn
	for _, c := range conns {
		if m.want.matches(c) {
			alike = append(alike, c)
		}
	}
	if len(alike) > 1 {
		return false, fmt.Errorf("%d connection entries are %s, which is to name one:\n%s", len(alike), m.want, listed(alike))
	}
	return len(alike) == 1, nil
}

// FailureMessage implements types.GomegaMatcher.
func (m *haveEntry) FailureMessage(actual any) string {
	return "expected one connection entry " + m.want.String() + ", the director has:\n" + listed(actual.([]lb.Conn))
}

// NegatedFailureMessage implements types.GomegaMatcher.
func (m *haveEntry) NegatedFailureMessage(actual any) string {
	return "expected no connection entry " + m.want.String() + ", the director has:\n" + listed(actual.([]lb.Conn))
}

// mostEntries bounds what a message lists.
const mostEntries = 20

func listed(conns []lb.Conn) string {
	if len(conns) == 0 {
		return "    (no entries)"
	}
	var lines []string
	for i, c := range conns {
		if i == mostEntries {
			lines = append(lines, fmt.Sprintf("... and %d more", len(conns)-i))
			break
		}
		lines = append(lines, c.String())
	}
	return "    " + strings.Join(lines, "\n    ")
}
