package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// confTimes are the longest times of the checks in a keepalived.conf of the
// user's: what it does, whatever the topology says of checks.
type confTimes struct {
	interval time.Duration // delay_loop, from one check of a real server to the next that decides
	retry    int           // so many failures are not believed
	delay    time.Duration // delay_before_retry
	timeout  time.Duration // connect_timeout
}

// The defaults of keepalived.conf(5), the longest where checkers differ.
var confDefaults = confTimes{interval: time.Minute, retry: 1, delay: 3 * time.Second, timeout: 5 * time.Second}

// notice is after which time a real server that stopped or started has been noticed.
func (c confTimes) notice() time.Duration {
	return c.interval + time.Duration(c.retry)*c.delay + 500*time.Millisecond
}

// verdict is after which time it has surely been, where packets get lost.
func (c confTimes) verdict() time.Duration {
	return time.Duration(c.retry+1)*(max(c.interval, c.delay)+c.timeout) + 10*time.Second
}

// readConfTimes reads them, with the file's includes and $VARIABLES of one
// word. It is no parser of all that keepalived reads: of lines for some node
// (@NAME) it takes them all, and what it does not understand has its default.
func readConfTimes(path string) (confTimes, error) {
	r := confReader{vars: map[string]string{}}
	if err := r.file(path, 0); err != nil {
		return confTimes{}, fmt.Errorf("read the times of checks: %w", err)
	}
	return r.times(), nil
}

type confReader struct {
	words []string
	vars  map[string]string
}

// braced is a variable's longer form.
var braced = regexp.MustCompile(`\$\{(\w+)\}`)

const mostIncludes = 10 // one in the other

func (r *confReader) file(path string, depth int) error {
	data, err := os.ReadFile(path)
	if err != nil || depth > mostIncludes {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if at := strings.IndexAny(line, "#!"); at >= 0 {
			line = line[:at]
		}
		line = braced.ReplaceAllString(line, "$$$1")
		line = strings.NewReplacer("{", " { ", "}", " } ").Replace(line)
		words := strings.Fields(line)
		if len(words) > 0 && strings.HasPrefix(words[0], "@") {
			words = words[1:]
		}
		if name, value, ok := strings.Cut(strings.Join(words, ""), "="); ok && strings.HasPrefix(name, "$") {
			r.vars[strings.TrimPrefix(name, "$")] = value
			continue
		}
		if len(words) == 2 && strings.HasPrefix(words[0], "include") {
			if err := r.include(path, words[1], depth); err != nil {
				return err
			}
			continue
		}
		r.words = append(r.words, words...)
	}
	return nil
}

// include reads files by a pattern, which begins at the file that includes them.
func (r *confReader) include(from, pattern string, depth int) error {
	pattern = strings.Trim(pattern, `"'`)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(from), pattern)
	}
	found, err := filepath.Glob(pattern)
	for _, name := range found {
		if err == nil {
			err = r.file(name, depth+1)
		}
	}
	return err
}

// times goes through the blocks: the longest times of any virtual server whose
// real servers are checked.
func (r *confReader) times() (most confTimes) {
	for i := 0; i < len(r.words); i++ {
		if r.words[i] != "virtual_server" {
			continue
		}
		end := r.end(i)
		if t, checked := r.block(r.words[i:end]); checked {
			most.interval, most.retry = max(most.interval, t.interval), max(most.retry, t.retry)
			most.delay, most.timeout = max(most.delay, t.delay), max(most.timeout, t.timeout)
		}
		i = end - 1
	}
	return most
}

// end is where the block that begins after a word ends.
func (r *confReader) end(from int) int {
	depth := 0
	for i := from; i < len(r.words); i++ {
		switch r.words[i] {
		case "{":
			depth++
		case "}":
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(r.words)
}

// block reads one virtual server. A real server's URLs are asked in turn.
func (r *confReader) block(words []string) (t confTimes, checked bool) {
	t.retry = -1
	urls, mostURLs := 0, 1
	for i, w := range words {
		value := ""
		if i+1 < len(words) {
			value = r.value(words[i+1])
		}
		switch w {
		case "delay_loop":
			t.interval = max(t.interval, span(value, confDefaults.interval))
		case "delay_before_retry":
			t.delay = max(t.delay, span(value, confDefaults.delay))
		case "connect_timeout", "misc_timeout":
			t.timeout = max(t.timeout, span(value, confDefaults.timeout))
		case "retry", "nb_get_retry":
			n := confDefaults.retry
			_, _ = fmt.Sscanf(value, "%d", &n) // else the default
			t.retry = max(t.retry, n)
		case "real_server":
			urls = 0
		case "url":
			urls++
			mostURLs = max(mostURLs, urls)
		}
		checked = checked || strings.HasSuffix(w, "_CHECK") || slices.Contains([]string{"HTTP_GET", "SSL_GET"}, w)
	}
	if t.interval == 0 {
		t.interval = confDefaults.interval
	}
	if t.retry < 0 {
		t.retry = confDefaults.retry
	}
	if t.delay == 0 {
		t.delay = confDefaults.delay
	}
	if t.timeout == 0 {
		t.timeout = confDefaults.timeout
	}
	t.interval *= time.Duration(mostURLs)
	return t, checked
}

// value is a word with its $VARIABLE replaced.
func (r *confReader) value(word string) string {
	if name, ok := strings.CutPrefix(word, "$"); ok {
		return r.vars[name]
	}
	return word
}

// span reads keepalived's TIMER: seconds.
func span(text string, otherwise time.Duration) time.Duration {
	d, err := time.ParseDuration(text + "s")
	if err != nil {
		return otherwise
	}
	return d
}
