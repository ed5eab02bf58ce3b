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
	"syscall"

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
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words, _ := newRuleReader(strings.NewReader(line + "\n")).next()
		if len(words) == 0 {
			continue
		}
		if err := m.line(words, names); err != nil {
			errs = append(errs, &RuleError{Line: i + 1, Text: strings.Join(words, " "), Err: err})
		}
	}
	return m.services, errors.Join(errs...)
}

// model is a table in which only what a rules file can get wrong is told apart.
type model struct {
	services []lb.Service
	index    map[lb.Key]int
}

func newModel(start []lb.Service) *model {
	m := &model{index: map[lb.Key]int{}}
	for _, s := range start {
		s.Destinations = append([]lb.Destination(nil), s.Destinations...)
		m.index[s.Key] = len(m.services)
		m.services = append(m.services, s)
	}
	return m
}

var errOnlyWrites = errors.New("does not change the table; a rules file holds -A, -E, -D, -a, -e, -d, -C, -Z, --set and the sync daemon's commands")

func (m *model) line(words []string, names Names) error {
	cmd, err := Parse(append([]string{"ipvsadm"}, words...), names)
	if err != nil {
		return err
	}
	if change, ok := cmd.Change(); ok {
		if err := m.change(change); err != nil {
			return &tableError{cmd.Verb, err}
		}
		return nil
	}
	switch cmd.Verb {
	case Zero, SetTimeouts, StartDaemon, StopDaemon:
		return nil
	}
	return errOnlyWrites
}

// tableError is a table's error in the original's words.
type tableError struct {
	verb Verb
	err  error
}

func (e *tableError) Error() string { return messageFor(e.verb, e.err) }
func (e *tableError) Unwrap() error { return e.err }

func (m *model) change(c lb.Change) error {
	if c.Op == lb.Flush {
		*m = *newModel(nil)
		return nil
	}
	i, found := m.index[c.Service.Key]
	if found == (c.Op == lb.AddService) {
		if found {
			return lb.ErrServiceExists
		}
		return lb.ErrNoService
	}
	switch c.Op {
	case lb.AddService:
		m.index[c.Service.Key] = len(m.services)
		m.services = append(m.services, c.Service)
	case lb.EditService:
		c.Service.Destinations = m.services[i].Destinations
		m.services[i] = c.Service
	case lb.DeleteService:
		*m = *newModel(append(m.services[:i:i], m.services[i+1:]...))
	default:
		return changeDest(&m.services[i].Destinations, c)
	}
	return nil
}

func changeDest(dests *[]lb.Destination, c lb.Change) error {
	at := -1
	for i, d := range *dests {
		if d.DestKey == c.Destination.DestKey {
			at = i
		}
	}
	switch {
	case c.Op == lb.AddDestination && at >= 0:
		return lb.ErrDestinationExists
	case c.Op != lb.AddDestination && at < 0:
		return lb.ErrNoDestination
	case c.Op == lb.DeleteDestination:
		*dests = append((*dests)[:at:at], (*dests)[at+1:]...)
		return nil
	case c.Destination.Lower > c.Destination.Upper:
		return syscall.ERANGE
	case c.Op == lb.EditDestination:
		(*dests)[at] = c.Destination
	default:
		*dests = append(*dests, c.Destination)
	}
	return nil
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
