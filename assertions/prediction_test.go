package assertions_test

import (
	"slices"
	"testing"

	"github.com/ipvslab/ipvslab/assertions"
)

func TestFollowPrediction(t *testing.T) {
	wrr := []string{"rs3", "rs2", "rs1", "rs3", "rs3", "rs2"}
	long := slices.Repeat(wrr, 5)
	late := slices.Clone(long)
	late[21] = "rs1"
	refused := slices.Clone(wrr)
	refused[1] = assertions.Refused
	judge(t, "follow_prediction",
		verdict{"as predicted", assertions.FollowPrediction(wrr), slices.Clone(wrr), true},
		verdict{"the wrong order", assertions.FollowPrediction(wrr, "model: wrr cw=3", "weights 1 2 3"), []string{"rs3", "rs1", "rs2", "rs3", "rs3", "rs2"}, false},
		verdict{"the last one", assertions.FollowPrediction([]string{"rs1", "rs2"}), []string{"rs1", "rs1"}, false},
		verdict{"late in a long run", assertions.FollowPrediction(long), late, false},
		verdict{"a refused one", assertions.FollowPrediction(wrr), refused, false},
		verdict{"one too few", assertions.FollowPrediction(wrr), wrr[:5], false},
		verdict{"one too many", assertions.FollowPrediction(wrr), append(slices.Clone(wrr), "rs1"), false},
		verdict{"none at all", assertions.FollowPrediction(wrr), []string{}, false},
	)
	mistaken(t, assertions.FollowPrediction(wrr), "not string", "rs3")
	mistaken(t, assertions.FollowPrediction(wrr), "not <nil>", nil)
	mistaken(t, assertions.FollowPrediction(nil), "empty prediction", []string{}, wrr)
}
