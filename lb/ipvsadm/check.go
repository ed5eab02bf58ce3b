package ipvsadm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
)

// RuleError is a line of a rules file that would not be carried out.
type RuleError struct {
	Line int    // from 1
	Text string // the line's words
	Err  error
}

func (e *RuleError) Error() string { return fmt.Sprintf("line %d: %s: %v", e.Line, e.Text, e.Err) }

// Unwrap gives the reason.
func (e *RuleError) Unwrap() error { return e.Err }

// ReadRules reads a whole rules file without touching any table, and gives the
// services that it would leave in a table that holds start. Every line that is
// wrong, or that the table would refuse (a server for a service that is not
// there, a second service of the same address), is a *RuleError in the joined
// error; the others still count. Lines that start with "#" are comments, as
// for ipvsadm-restore.
func ReadRules(r io.Reader, start []lb.Service, names Names) ([]lb.Service, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return nil, fmt.Errorf("read rules: line %d holds a zero byte; is this a rules file?", 1+bytes.Count(text[:i], []byte("\n")))
	}
	m := newModel(start)
	var errs []error
	for lines := newRuleReader(bytes.NewReader(append(blankComments(text), '\n'))); ; {
		words, ok := lines.next()
		if !ok {
			break
		}
		if len(words) == 0 {
			continue
		}
		if err := m.line(words, names); err != nil {
			errs = append(errs, &RuleError{Line: lines.line, Text: strings.Join(words, " "), Err: err})
		}
	}
	return m.list(), errors.Join(errs...)
}

// blankComments empties the lines that start with "#".
func blankComments(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("#")) {
			line = line[len(bytes.TrimRight(line, "\n")):]
		}
		out = append(out, line...)
	}
	return out
}

// OpenRules opens a rules file. A missing one is explained, for that is what
// ipvsadm.service dies of on a fresh machine.
func OpenRules(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open rules file: %w; save a table with \"ipvsadm-save -n > %s\", "+
			"or make an empty file for an empty table: \": > %s\"", err, path, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open rules file: %w", err)
	}
	return f, nil
}

// check carries out --check: does the file, or standard input, fit an empty table?
func (t *tool) check(path string) int {
	in := io.NopCloser(t.Stdin)
	if path != "" {
		var err error
		if in, err = OpenRules(path); err != nil {
			t.complain(err.Error())
			return statusFailed
		}
	}
	defer in.Close()
	_, err := ReadRules(in, nil, t.Names)
	return t.reportRules(path, err)
}

// restoreChecked carries out -R --check: nothing is touched unless every line
// is right for the table as it stands.
func (t *tool) restoreChecked(ctx context.Context) int {
	text, err := io.ReadAll(t.Stdin)
	if err != nil {
		t.complain("read rules: " + err.Error())
		return statusFailed
	}
	services, err := t.Table.List(ctx)
	if err != nil {
		t.complain(messageFor(List, err))
		return statusFailed
	}
	if _, err := ReadRules(bytes.NewReader(text), services, t.Names); err != nil {
		return t.reportRules("", err)
	}
	return t.restore(ctx, bytes.NewReader(withoutComments(text)))
}

func (t *tool) reportRules(path string, err error) int {
	if err == nil {
		return statusOK
	}
	if path != "" {
		path += ": "
	}
	for line := range strings.Lines(err.Error()) {
		t.complain(path + strings.TrimSuffix(line, "\n"))
	}
	return statusUsage
}

// withoutComments drops the lines that start with "#", as ipvsadm-restore does.
func withoutComments(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("#")) {
			out = append(out, line...)
		}
	}
	return out
}
