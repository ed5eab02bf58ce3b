package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/lb/vrrp"
)

const (
	takeoverName   = "takeover"
	takeoverRounds = 5
	secondPriority = 100 // of testdata/takeover.yaml
)

// takeoverIntervals are those between advertisements.
var takeoverIntervals = []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond}

// takeoverAllowance is for everything but waiting: the takeover, the address
// tables, the request itself.
const takeoverAllowance = 30 * time.Millisecond

func takeover(o options) figure {
	return figure{
		title: "Takeover by the second director, in a guest",
		about: "From the last request served to the next, with a new connection every 5 ms through NAT.\n" +
			"killed: the first director's processes get SIGKILL and its links go down, at any moment of the interval. stopped: SIGTERM.\n" +
			"Wanted is what RFC 9568 says, Active_Down_Interval or Skew_Time at priority 100, and 30 ms.",
		measure: func(ctx context.Context) (findings, error) { return measureTakeover(ctx, o) },
	}
}

// takeoverCase is one row.
type takeoverCase struct {
	kind     string
	interval time.Duration
	killed   bool
}

func (c takeoverCase) String() string {
	how := "stopped"
	if c.killed {
		how = "killed"
	}
	return fmt.Sprintf("%s, %s, %s", c.kind, c.interval, how)
}

// limit is the longest gap that is wanted.
func (c takeoverCase) limit() time.Duration {
	cfg := vrrp.Config{Version: 3, Priority: secondPriority}
	if c.killed {
		return cfg.ActiveDown(c.interval) + takeoverAllowance
	}
	return cfg.Skew(c.interval) + takeoverAllowance
}

func takeoverCases() []takeoverCase {
	var cases []takeoverCase
	for _, interval := range takeoverIntervals {
		for _, killed := range []bool{true, false} {
			for _, kind := range []string{"embedded", "keepalived"} {
				cases = append(cases, takeoverCase{kind, interval, killed})
			}
		}
	}
	return cases
}

func measureTakeover(ctx context.Context, o options) (findings, error) {
	self, err := os.Executable()
	if err != nil {
		return findings{}, fmt.Errorf("find this program: %w", err)
	}
	rounds := strconv.Itoa(or(o.rounds, takeoverRounds))
	text, err := output(ctx, o.binary, "kernel", "exec", "--", self, "-inside", takeoverName, "-rounds", rounds)
	if err != nil {
		return findings{}, err
	}
	var found findings
	if err := json.Unmarshal(text, &found.timings); err != nil {
		return findings{}, fmt.Errorf("read the guest's timings: %w", err)
	}
	for _, c := range takeoverCases() {
		if t := find(found.timings, c.String()); c.kind == "embedded" && len(t.Times) > 0 {
			m := median(t.Times)
			found.values = append(found.values, value{
				what: "median, " + c.String(), amount: milliseconds(m),
				wanted: fmt.Sprintf("≤ %s: %s", milliseconds(c.limit()), metWord(m <= c.limit())),
			})
		}
	}
	return found, nil
}

func metWord(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}
