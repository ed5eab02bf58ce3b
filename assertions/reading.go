package assertions

import (
	"fmt"
	"slices"
	"strings"
)

// reading says what the pattern of disagreement usually means, and where to
// look; empty if it is no pattern known.
func (w Witnesses) reading(want map[string]int) string {
	client, servers, kernel := agrees(w.Client, want), agrees(w.Servers, want), agrees(w.Kernel, want)
	switch {
	case w.agreeAmongThemselves() && w.Unanswered > 0:
		return "no witness saw the unanswered ones go to a real server: the director never got them, or had no real server to give them to; look at the way to the VIP, and at weights and thresholds"
	case w.agreeAmongThemselves():
		return "the witnesses agree with each other: the distribution is real, and not the expected one; look at weights, scheduler and flags in the director's table"
	case w.Strange > 0 && w.Kernel != nil && kernel && !servers:
		return "the director sent connections on to " + differing(w.Servers, want) + ", where somebody took them who is not the lab's server:" +
			" another program has the port, packet filters redirect it, or the server hangs"
	case w.Unanswered > 0 && w.Kernel != nil && kernel && !servers:
		return "the director sent connections on that " + differing(w.Servers, want) +
			" did not accept: it does not listen (refused), or the way there or the answers' way back is lost (timeout)"
	case w.Unanswered > 0 && w.Servers != nil && servers:
		return "the real servers accepted what the client saw no answer to: look at the answers' way back"
	case w.Client != nil && w.Servers != nil && !client && kernel && sameCounts(w.Client, w.Servers):
		return "the director sent what was expected, but other real servers answered, for " + differing(w.Client, want) +
			": two machines may own one address; look at who answers ARP for it"
	case client && servers && !kernel:
		return alone("the director's kernel", w.Kernel, want, "traffic goes past the director, or its table was changed meanwhile")
	case client && kernel && !servers:
		return alone("the real servers' own count", w.Servers, want, "somebody else visits them, another server answers under their name, or the director hides the client's address from them (masquerading)")
	case servers && kernel && !client:
		return alone("the client's count", w.Client, want, "two real servers may answer under one name")
	}
	return ""
}

// agrees tells whether a witness says what is wanted; one not asked does not
// contradict.
func agrees(counts, want map[string]int) bool { return counts == nil || sameCounts(counts, want) }

// agreeAmongThemselves needs at least two witnesses.
func (w Witnesses) agreeAmongThemselves() bool {
	asked := w.asked()
	for _, counts := range asked {
		if !sameCounts(counts, asked[0]) {
			return false
		}
	}
	return len(asked) > 1
}

// alone is the reading of a pattern in which one witness contradicts the rest.
func alone(who string, counts, want map[string]int, reason string) string {
	if n := multiple(counts, want); n > 1 {
		return fmt.Sprintf("only %s is off, and it is %d times the expected everywhere: each connection is counted %d times", who, n, n)
	}
	return fmt.Sprintf("only %s is off, for %s: %s", who, differing(counts, want), reason)
}

// multiple is n if every count is n times the wanted one, else zero.
func multiple(counts, want map[string]int) int {
	n := 0
	for _, name := range keysOf(counts, want) {
		switch {
		case counts[name] == 0 && want[name] == 0:
			continue
		case want[name] == 0 || counts[name]%want[name] != 0:
			return 0
		case n == 0:
			n = counts[name] / want[name]
		}
		if counts[name] != n*want[name] {
			return 0
		}
	}
	return n
}

// differing names those whose counts differ.
func differing(a, b map[string]int) string {
	names := slices.DeleteFunc(keysOf(a, b), func(name string) bool { return a[name] == b[name] })
	return strings.Join(names, ", ")
}
