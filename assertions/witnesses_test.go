package assertions_test

import (
	"testing"

	"github.com/ipvslab/ipvslab/assertions"
)

type counts = map[string]int

func TestAgreeOn(t *testing.T) {
	want := counts{"rs1": 2, "rs2": 4}
	swapped := counts{"rs1": 4, "rs2": 2}
	as := func(client, servers, kernel counts, unanswered int) assertions.Witnesses {
		return assertions.Witnesses{Client: client, Servers: servers, Kernel: kernel, Unanswered: unanswered}
	}
	with := func(w assertions.Witnesses, note string) assertions.Witnesses {
		w.Notes = []string{"", note}
		return w
	}
	var verdicts []verdict
	add := func(name string, w assertions.Witnesses, pass bool) {
		verdicts = append(verdicts, verdict{name, assertions.AgreeOn(want), w, pass})
	}
	add("all agree", as(want, want, want, 0), true)
	add("a server with no connection may be left out", as(counts{"rs1": 2, "rs2": 4, "rs3": 0}, want, want, 0), true)
	add("two witnesses, the servers were not asked", as(want, nil, want, 0), true)
	add("one witness", as(nil, nil, want, 0), true)
	add("one connection is missing everywhere", as(counts{"rs1": 2, "rs2": 3}, counts{"rs1": 2, "rs2": 3}, counts{"rs1": 2, "rs2": 3}, 1), false)
	add("wrong weights", as(swapped, swapped, swapped, 0), false)
	add("wrong weights, two witnesses", as(nil, swapped, swapped, 0), false)
	add("a server that nobody expected", as(counts{"rs1": 2, "rs2": 3, "rs3": 1}, counts{"rs1": 2, "rs2": 3, "rs3": 1}, counts{"rs1": 2, "rs2": 3, "rs3": 1}, 0), false)
	add("rs2 does not listen", with(as(counts{"rs1": 2}, counts{"rs1": 2}, want, 4), "asked over NAT"), false)
	stranger := as(counts{"rs1": 2}, counts{"rs1": 2}, want, 4)
	stranger.Strange = 4
	add("a stranger at rs2's port", stranger, false)
	add("answers are lost", as(counts{"rs1": 2}, want, want, 4), false)
	add("past the director", as(want, want, counts{}, 0), false)
	add("a visitor of rs1", as(want, counts{"rs1": 3, "rs2": 4}, want, 0), false)
	add("servers counted twice", as(want, counts{"rs1": 4, "rs2": 8}, want, 0), false)
	add("kernel counted three times", as(want, want, counts{"rs1": 6, "rs2": 12}, 0), false)
	add("client counted twice", as(counts{"rs1": 4, "rs2": 8}, want, want, 0), false)
	add("one name for two", as(counts{"rs1": 6}, want, want, 0), false)
	add("one name for two, the kernel was not asked", as(counts{"rs1": 6}, want, nil, 0), false)
	add("rs1 answers for rs2", as(swapped, swapped, want, 0), false)
	add("no pattern", as(counts{"rs1": 6}, swapped, want, 0), false)
	add("only unanswered ones too many", as(want, want, want, 1), false)
	judge(t, "agree_on", verdicts...)
	mistaken(t, assertions.AgreeOn(want), "not map[string]int", want)
	mistaken(t, assertions.AgreeOn(want), "not *assertions.Witnesses", &assertions.Witnesses{})
	mistaken(t, assertions.AgreeOn(nil), "no witness", assertions.Witnesses{})
}
