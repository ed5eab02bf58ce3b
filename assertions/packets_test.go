package assertions_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lab/capture"
)

func TestHavePacket(t *testing.T) {
	syn := capture.Packet{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Node: "client", Interface: "outside", Direction: capture.Out,
		Header: capture.Header{
			Version: 4, Protocol: capture.ProtoTCP, Flags: capture.SYN, SrcPort: 40000, DstPort: 80,
			Src: netip.MustParseAddr("10.0.0.2"), Dst: netip.MustParseAddr("10.0.0.100"),
		},
	}
	synack := syn
	synack.Direction, synack.Flags = capture.In, capture.SYN|capture.ACK
	synack.Src, synack.Dst, synack.SrcPort, synack.DstPort = syn.Dst, syn.Src, syn.DstPort, syn.SrcPort
	answered := assertions.HavePacket("an answer of the VIP", capture.Packet.IsSYNACK)
	judge(t, "have_packet",
		verdict{"there", answered, []capture.Packet{syn, synack, syn}, true},
		verdict{"not there", answered, []capture.Packet{syn, syn}, false},
		verdict{"nothing", answered, []capture.Packet{}, false},
		verdict{"an empty set", answered, capture.Set{}, false},
		verdict{"many others", answered, slices.Repeat([]capture.Packet{syn}, 43), false},
	)
	mistaken(t, answered, "not capture.Packet", syn)
	mistaken(t, answered, "not <nil>", nil)
}

// A capture may go on after the verdict; the message is about what was judged.
func TestHavePacketKeepsWhatItJudged(t *testing.T) {
	growing := &grower{}
	m := assertions.HavePacket("a SYN", capture.Packet.IsSYN)
	if pass, err := m.Match(growing); pass || err != nil {
		t.Fatal(pass, err)
	}
	if got, want := m.FailureMessage(growing), "expected a SYN; captured were:\n    (nothing)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// grower has one more packet at each look.
type grower struct{ packets []capture.Packet }

func (g *grower) Packets() []capture.Packet {
	seen := g.packets
	g.packets = append(g.packets, capture.Packet{Header: capture.Header{Protocol: capture.ProtoTCP, Flags: capture.SYN}})
	return seen
}
