package ipvsadm_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sequence is command lines for one fresh table.
type sequence struct {
	name  string
	lines []commandLine
}

type commandLine struct {
	argv  []string
	stdin string
}

func (c commandLine) String() string { return strings.Join(c.argv, " ") }

// readSequences reads a file of testdata/diff; usage.txt there explains the form.
func readSequences(t testing.TB, path string) []sequence {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []sequence
	var s sequence
	end := func() {
		if len(s.lines) > 0 {
			all = append(all, s)
		}
		s = sequence{}
	}
	in := bufio.NewScanner(file)
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		switch {
		case line == "":
			end()
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "|"):
			last := &s.lines[len(s.lines)-1]
			last.stdin += strings.TrimPrefix(line[1:], " ") + "\n"
		default:
			if s.name == "" {
				s.name = fmt.Sprintf("%s:%d", filepath.Base(path), n)
			}
			s.lines = append(s.lines, commandLine{argv: program(splitQuoted(line))})
		}
	}
	end()
	return all
}

// program puts ipvsadm in front of a line that names no program.
func program(words []string) []string {
	if len(words) > 0 && strings.HasPrefix(words[0], "ipvsadm") {
		return words
	}
	return append([]string{"ipvsadm"}, words...)
}

// splitQuoted splits at spaces that are not within single quotes.
func splitQuoted(line string) (words []string) {
	var w strings.Builder
	started, quoted := false, false
	for _, c := range line {
		switch {
		case c == '\'':
			quoted, started = !quoted, true
		case c == ' ' && !quoted:
			if started {
				words = append(words, w.String())
			}
			w.Reset()
			started = false
		default:
			w.WriteRune(c)
			started = true
		}
	}
	if started {
		words = append(words, w.String())
	}
	return words
}
