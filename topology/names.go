package topology

import (
	"regexp"
	"strings"

	"github.com/agext/levenshtein"
)

// maxIfName is IFNAMSIZ-1: the longest name of a link, in bytes
// (include/uapi/linux/if.h).
const maxIfName = 15

// maxName is the longest name of a lab or a node. Both together, with a dot,
// make the name of a file under /run/netns.
const maxName = 63

var (
	nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	linkName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	unnamely = regexp.MustCompile(`[^A-Za-z0-9_-]+`)
)

// labName makes a lab's name of a file's: its base name without the extension,
// with a hyphen for what a name can't hold.
func labName(file string) string {
	base := file[strings.LastIndexAny(file, `/\`)+1:]
	for _, ext := range []string{".yaml", ".yml", ".json"} {
		base = strings.TrimSuffix(base, ext)
	}
	name := strings.Trim(unnamely.ReplaceAllString(base, "-"), "-_")
	if name == "" {
		return "lab"
	}
	return name[:min(len(name), maxName)]
}

// nearest is the word most like got, or "" if none is like it at all.
func nearest(got string, words []string) string {
	if len(got) > maxName || len(words) > 1000 {
		return "" // no typing mistake, and no end of comparing
	}
	best, least := "", max(1, len(got)/3)+1
	for _, w := range words {
		d := levenshtein.Distance(strings.ToLower(got), strings.ToLower(w), nil)
		if d < least && d < len(got) { // not every letter another one
			best, least = w, d
		}
	}
	return best
}

// choices says what is allowed and, if one of it is near, what was meant.
func choices(got string, words []string) string {
	const show = 40
	if len(words) == 0 {
		return "none is declared"
	}
	shown := words
	more := ""
	if len(words) > show {
		shown, more = words[:show], ", ..."
	}
	hint := "allowed: " + strings.Join(shown, ", ") + more
	if n := nearest(got, words); n != "" {
		hint += `; did you mean "` + n + `"?`
	}
	return hint
}
