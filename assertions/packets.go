package assertions

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/ipvslab/ipvslab/lab/capture"
)

// HavePacket succeeds when a packet of the capture is as wanted; what is its
// description for the message. Its actual is a capture.Set, a *capture.Capture
// or a []capture.Packet.
func HavePacket(what string, want func(capture.Packet) bool) types.GomegaMatcher {
	return &havePacket{what: what, want: want}
}

type havePacket struct {
	what string
	want func(capture.Packet) bool
	seen []capture.Packet // at the time of the verdict; a capture may be going on
}

// Match implements types.GomegaMatcher.
func (m *havePacket) Match(actual any) (bool, error) {
	switch a := actual.(type) {
	case interface{ Packets() []capture.Packet }:
		m.seen = a.Packets()
	case []capture.Packet:
		m.seen = a
	default:
		return false, fmt.Errorf("HavePacket takes a capture.Set, a *capture.Capture or a []capture.Packet, not %T", actual)
	}
	return slices.ContainsFunc(m.seen, m.want), nil
}

// mostPackets bounds what a message lists.
const mostPackets = 40

// FailureMessage implements types.GomegaMatcher.
func (m *havePacket) FailureMessage(any) string {
	lines := []string{}
	for i, p := range m.seen {
		if i == mostPackets {
			lines = append(lines, fmt.Sprintf("... and %d more", len(m.seen)-i))
			break
		}
		lines = append(lines, p.String())
	}
	if len(lines) == 0 {
		lines = []string{"(nothing)"}
	}
	return "expected " + m.what + "; captured were:\n    " + strings.Join(lines, "\n    ")
}

// NegatedFailureMessage implements types.GomegaMatcher.
func (m *havePacket) NegatedFailureMessage(any) string {
	i := slices.IndexFunc(m.seen, m.want)
	return "expected no packet such as " + m.what + "; captured was:\n    " + m.seen[i].String()
}
