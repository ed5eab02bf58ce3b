package ipvsadm

import (
	"strings"

	"github.com/ipvslab/ipvslab/lb"
)

// parseSchedFlags reads -b's comma-separated words; empty ones don't count.
func parseSchedFlags(scheduler, words string) (lb.Flags, error) {
	if scheduler == "" {
		scheduler = defaultScheduler
	}
	var flags lb.Flags
	found := false
	for w := range strings.SplitSeq(words, ",") {
		if w == "" {
			continue
		}
		found = true
		f, err := parseSchedFlag(scheduler, w)
		if err != nil {
			return 0, err
		}
		flags |= f
	}
	if !found { // the original crashes on commas alone
		return 0, usage("invalid scheduler flag `%s'", words)
	}
	return flags, nil
}

func parseSchedFlag(scheduler, word string) (lb.Flags, error) {
	flag, only, ok := lb.SchedulerFlag(word)
	switch {
	case !ok:
		return 0, usage("invalid scheduler flag `%s'", word)
	case only != "" && only != scheduler:
		return 0, usage("incompatible scheduler flag `%s'", word)
	}
	return flag, nil
}

const anySchedFlag = lb.Sched1 | lb.Sched2 | lb.Sched3

// schedFlagWords is what listings show.
func schedFlagWords(s *lb.Service) string {
	return strings.Join(s.Flags.SchedulerWords(s.Scheduler), ",")
}

// cut shortens s to at most n bytes, as the original's fixed buffers do.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
