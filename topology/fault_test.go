package topology

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFaultsAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]Fault{
		"master kill":            {Node: "master", Do: FaultKill},
		"master freeze director": {Node: "master", Do: FaultFreeze, Process: "director"},
		"rs1 restart web":        {Node: "rs1", Do: FaultRestart, Process: "web"},
		"rs1 link-down":          {Node: "rs1", Do: FaultLinkDown},
		"rs1 link-up on inside":  {Node: "rs1", Do: FaultLinkUp, Interface: "inside"},
		"rs1 loss 12.5%":         {Node: "rs1", Do: FaultLoss, Loss: 12.5},
		"rs1 loss 100% on inside in": {
			Node: "rs1", Do: FaultLoss, Loss: 100, Interface: "inside", Direction: In,
		},
		"rs1 loss 30% out with a b": {Node: "rs1", Do: FaultLoss, Loss: 30, Direction: Out, With: []string{"a", "b"}},
		"rs1 delay 50ms +-5ms on lan with a": {
			Node: "rs1", Do: FaultDelay, Delay: 50 * time.Millisecond, Jitter: 5 * time.Millisecond, Interface: "lan", With: []string{"a"},
		},
		"a partition b c on lan out": {Node: "a", Do: FaultPartition, With: []string{"b", "c"}, Interface: "lan", Direction: Out},
		"a heal":                     {Node: "a", Do: FaultHeal},
	} {
		got, err := ParseFault(strings.Fields(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
		if got.String() != text {
			t.Errorf("%q is written as %q", text, got)
		}
	}
	for short, long := range map[string]string{
		"rs1 link-down inside":       "rs1 link-down on inside",
		"rs1 loss 3 inside in":       "rs1 loss 3% on inside in",
		"a partition with b":         "a partition b",
		"a delay 0.05s lan with b c": "a delay 50ms on lan with b c",
	} {
		if got, err := ParseFault(strings.Fields(short)); err != nil || got.String() != long {
			t.Errorf("%s: %q, %v", short, got, err)
		}
	}
}

func TestWrongFaultsAreRefused(t *testing.T) {
	for text, why := range map[string]string{
		"master":                    "say NODE and what is to happen: kill, stop",
		"master kil":                `did you mean "kill"?`,
		"master loss":               "how much? say 10%",
		"master loss 101%":          "no percentage",
		"master loss NaN":           "no percentage",
		"master delay soon":         "invalid duration",
		"master delay 2m":           "at most 1m0s",
		"master delay 1ms +-2ms":    "the jitter is at most the delay",
		"master partition":          "needs another side",
		"master partition master":   "cut off from itself",
		"master loss 5% with":       "with whom?",
		"master link-down lan in":   "direction has no meaning for link-down",
		"master kill a b":           `"b" is one word too many`,
		"master heal everything":    `"everything" is one word too many`,
		"master link-up on lan wan": `"lan" is one word too many`,
	} {
		if f, err := ParseFault(strings.Fields(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, %v; want %q", text, f, err, why)
		}
	}
}
