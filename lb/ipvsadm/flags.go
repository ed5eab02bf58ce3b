package ipvsadm

import (
	"strings"

	"github.com/ipvslab/ipvslab/lb"
)

// schedFlags are the words of -b; of names for the same bit, the one that goes
// with the scheduler is printed.
var schedFlags = []struct {
	name, scheduler string // no scheduler: any
	flag            lb.Flags
}{
	{"sh-fallback", "sh", lb.Sched1},
	{"sh-port", "sh", lb.Sched2},
	{"mh-fallback", "mh", lb.Sched1},
	{"mh-port", "mh", lb.Sched2},
	{"flag-1", "", lb.Sched1},
	{"flag-2", "", lb.Sched2},
	{"flag-3", "", lb.Sched3},
}

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
	for _, f := range schedFlags {
		if f.name != word {
			continue
		}
		if f.scheduler != "" && f.scheduler != scheduler {
			return 0, usage("incompatible scheduler flag `%s'", word)
		}
		return f.flag, nil
	}
	return 0, usage("invalid scheduler flag `%s'", word)
}

const anySchedFlag = lb.Sched1 | lb.Sched2 | lb.Sched3

// schedFlagWords is what -b would take, and what listings show. A scheduler
// with names of its own has none for bits that it doesn't use.
func schedFlagWords(scheduler string, flags lb.Flags) string {
	if scheduler != "sh" && scheduler != "mh" {
		scheduler = ""
	}
	var words []string
	for _, f := range schedFlags {
		if f.scheduler == scheduler && flags&f.flag != 0 {
			words = append(words, f.name)
		}
	}
	return strings.Join(words, ",")
}

// cut shortens s to at most n bytes, as the original's fixed buffers do.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
