package ipvsadm

import (
	"bufio"
	"io"
	"strings"
)

// maxWord is where the original breaks a longer word in two.
const maxWord = 4096

// ruleReader splits a rules file into command lines as the original does:
// words are separated by spaces, tabs and carriage returns, the word "ipvsadm"
// is left out wherever it stands, there is no quoting and there are no
// comments. A last line that has no newline but two or more blanks at its end
// is lost.
type ruleReader struct {
	in   *bufio.Reader
	line int   // of the line that next returned last, from 1
	read int   // newlines read
	err  error // other than io.EOF
}

func newRuleReader(r io.Reader) *ruleReader { return &ruleReader{in: bufio.NewReader(r)} }

// next gives the next line's words, perhaps none; false at the end.
func (r *ruleReader) next() (words []string, ok bool) {
	r.line = r.read + 1
	for {
		word := r.word()
		if word == "" {
			switch r.skipBlanks() {
			case newline:
				return words, true
			case end:
				return words, len(words) > 0
			case endAfterBlanks:
				return nil, false
			}
			continue
		}
		if word, _, _ = strings.Cut(word, "\x00"); word != "ipvsadm" {
			words = append(words, word)
		}
		switch c, ok := r.byte(); {
		case !ok:
			return words, len(words) > 0
		case c == '\n':
			return words, true
		case !isBlank(c):
			r.unread()
		}
	}
}

// drained tells that a further line may have to be waited for.
func (r *ruleReader) drained() bool { return r.in.Buffered() == 0 }

func (r *ruleReader) word() string {
	var w []byte
	for len(w) < maxWord {
		c, ok := r.byte()
		if !ok {
			break
		}
		if c == '\n' || isBlank(c) {
			r.unread()
			break
		}
		w = append(w, c)
	}
	return string(w)
}

type stop uint8

const (
	more stop = iota
	newline
	end
	endAfterBlanks
)

// skipBlanks reads blanks up to a word or the line's end.
func (r *ruleReader) skipBlanks() stop {
	for at := end; ; at = endAfterBlanks {
		c, ok := r.byte()
		switch {
		case !ok:
			return at
		case c == '\n':
			return newline
		case !isBlank(c):
			r.unread()
			return more
		}
	}
}

func (r *ruleReader) byte() (byte, bool) {
	c, err := r.in.ReadByte()
	if err != nil {
		if err != io.EOF {
			r.err = err
		}
		return 0, false
	}
	if c == '\n' {
		r.read++
	}
	return c, true
}

// unread gives back the byte that was just read.
func (r *ruleReader) unread() {
	if r.in.UnreadByte() == nil {
		if b, err := r.in.Peek(1); err == nil && b[0] == '\n' {
			r.read--
		}
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }
