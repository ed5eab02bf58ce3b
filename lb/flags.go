package lb

import "fmt"

// schedulerFlags are the words of ipvsadm -b (ipvsadm(8)). Some schedulers
// have words of their own for bits that they use, any has the general ones.
var schedulerFlags = []struct {
	word, scheduler string // no scheduler: any
	flag            Flags
}{
	{"sh-fallback", "sh", Sched1},
	{"sh-port", "sh", Sched2},
	{"mh-fallback", "mh", Sched1},
	{"mh-port", "mh", Sched2},
	{"flag-1", "", Sched1},
	{"flag-2", "", Sched2},
	{"flag-3", "", Sched3},
}

// SchedulerFlag is the flag that ipvsadm -b knows by the word, and the only
// scheduler that the word goes with; none: any.
func SchedulerFlag(word string) (flag Flags, scheduler string, ok bool) {
	for _, f := range schedulerFlags {
		if f.word == word {
			return f.flag, f.scheduler, true
		}
	}
	return 0, "", false
}

// SchedulerWords are the flags as ipvsadm lists them with a scheduler: one with
// words of its own has none for bits that it doesn't use.
func (f Flags) SchedulerWords(scheduler string) []string {
	f &= Sched1 | Sched2 | Sched3
	if scheduler == "sh" || scheduler == "mh" {
		f &^= Sched3
	}
	return f.Words(scheduler)
}

// Words are all the flags of a service with that scheduler, by the scheduler's
// own words where it has some.
func (f Flags) Words(scheduler string) []string {
	var words []string
	if f&OnePacket != 0 {
		words = append(words, "one-packet")
		f &^= OnePacket
	}
	for _, s := range []string{scheduler, ""} {
		for _, w := range schedulerFlags {
			if w.scheduler == s && f&w.flag != 0 {
				words = append(words, w.word)
				f &^= w.flag
			}
		}
	}
	if f != 0 {
		words = append(words, fmt.Sprintf("%#x", uint32(f)))
	}
	return words
}
