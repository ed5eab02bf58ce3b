package assertions

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/ipvslab/ipvslab/lab/capture"
)

// HavePacket succeeds when a packet of the capture is as wanted; what is its
// description for the message. Its actual is a capture.Set or a []capture.Packet.
func HavePacket(what string, want func(capture.Packet) bool) types.GomegaMatcher {
	return &havePacket{what, want}
}

type havePacket struct {
	what string
	want func(capture.Packet) bool
}

func packetsOf(actual any) ([]capture.Packet, error) {
	switch a := actual.(type) {
	case capture.Set:
		return a.Packets(), nil
	case []capture.Packet:
		return a, nil
	}
	return nil, fmt.Errorf("HavePacket takes a capture.Set or a []capture.Packet, not %T", actual)
}

func (m *havePacket) first(actual any) (capture.Packet, bool) {
	packets, _ := packetsOf(actual)
	for _, p := range packets {
		if m.want(p) {
			return p, true
		}
	}
	return capture.Packet{}, false
}

func (m *havePacket) Match(actual any) (bool, error) {
	if _, err := packetsOf(actual); err != nil {
		return false, err
	}
	_, found := m.first(actual)
	return found, nil
}

// mostPackets bounds what a message lists.
const mostPackets = 40

func (m *havePacket) FailureMessage(actual any) string {
	packets, _ := packetsOf(actual)
	lines := []string{}
	for i, p := range packets {
		if i == mostPackets {
			lines = append(lines, fmt.Sprintf("... and %d more", len(packets)-i))
			break
		}
		lines = append(lines, p.String())
	}
	if len(lines) == 0 {
		lines = []string{"(nothing)"}
	}
	return "expected " + m.what + "; captured were:\n    " + strings.Join(lines, "\n    ")
}

func (m *havePacket) NegatedFailureMessage(actual any) string {
	p, _ := m.first(actual)
	return "expected no packet such as " + m.what + "; captured was:\n    " + p.String()
}
