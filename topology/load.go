package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Load reads a topology file, or standard input for [Stdin]. The error is the file system's, or the
// [Problems] of the file's structure; what is wrong with its sense is for
// [Topology.Plan] to say.
func Load(path string) (*Topology, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	if path == Stdin {
		path = "stdin"
	}
	return Parse(path, data)
}

// Open does everything: it reads the file and makes the plan of a lab called
// name (the file's own name for it if that is empty). The problems hold
// warnings as well; the error is nil exactly if there is a plan.
func Open(path, name string) (*Plan, Problems, error) {
	t, err := Load(path)
	if t == nil {
		var ps Problems
		errors.As(err, &ps)
		return nil, ps, err
	}
	plan, problems := t.Plan(Options{Name: name})
	return plan, problems, problems.Err()
}

// read reads a file of a size that a topology can have.
func read(path string) ([]byte, error) {
	f := os.Stdin
	if path != Stdin {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("read topology: %w", err)
		}
		defer f.Close()
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read topology: %w", err)
	}
	return data, nil
}

// Parse decodes the content of a topology file; name stands for the file in
// messages. An error is a [Problems] with every structural mistake. The
// topology is nil only if the text is no YAML mapping at all; what could be
// understood is there for Plan to find the other mistakes.
func Parse(name string, data []byte) (*Topology, error) {
	whole := func(format string, args ...any) error {
		return Problems{{Severity: Error, Pos: Pos{File: name}, Message: fmt.Sprintf(format, args...)}}
	}
	if len(data) > maxBytes {
		return nil, whole("the file is larger than %d bytes", maxBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, whole("the file is empty; a topology starts with apiVersion: %s", APIVersion)
	} else if err != nil {
		return nil, Problems{syntax(name, data, err)}
	}
	if err := dec.Decode(&second); err == nil {
		return nil, Problems{{
			Severity: Error, Pos: Pos{name, second.Line, second.Column},
			Message: "a second document starts here", Hint: "one file is one lab: put it in a file of its own",
		}}
	} else if !errors.Is(err, io.EOF) {
		return nil, Problems{syntax(name, data, err)}
	}
	return decodeRoot(name, doc.Content[0])
}

func decodeRoot(name string, root *yaml.Node) (*Topology, error) {
	t := &Topology{source: name, pos: map[string]Pos{}}
	d := &decoder{file: name, pos: t.pos}
	if isNull(root) || root.Kind != yaml.MappingNode {
		d.wrong(root, "", "a mapping that starts with apiVersion: "+APIVersion)
		return nil, d.problems
	}
	d.value(root, "", reflect.ValueOf(t).Elem())
	if t.APIVersion != "" && t.APIVersion != APIVersion {
		d.problems = append(d.problems, Problem{
			Severity: Error, Pos: t.pos["apiVersion"], Path: "apiVersion",
			Message: fmt.Sprintf("found %q", t.APIVersion), Hint: "allowed: " + APIVersion,
		})
	}
	d.problems.sort()
	t.problems = d.problems
	return t, t.problems.Err()
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// yamlParser are the messages of the parser, whose lines count from 0; those
// of its scanner count from 1.
var yamlParser = regexp.MustCompile(`^did not find expected (key|node content|',' or|'-' indicator|<)`)

var yamlAnchor = regexp.MustCompile(`unknown anchor '(.*)' referenced`)

// syntax is a problem of the YAML parser's. It names at most a line, and for
// an unknown anchor or a byte that is no text not even that.
func syntax(name string, data []byte, err error) Problem {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Severity: Error, Pos: Pos{File: name}}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		p.Pos.Line, _ = strconv.Atoi(m[1])
		p.Pos.Column = 1
		msg = strings.Replace(msg, m[0], "", 1)
		if yamlParser.MatchString(msg) {
			p.Pos.Line++
		}
	}
	i := -1
	switch m := yamlAnchor.FindStringSubmatch(msg); {
	case m != nil:
		i = bytes.Index(data, []byte("*"+m[1]))
	case strings.Contains(msg, "UTF-8"):
		i = indexRune(data, func(r rune, size int) bool { return r == utf8.RuneError && size == 1 })
	case strings.Contains(msg, "control characters"):
		i = indexRune(data, func(r rune, _ int) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r) })
	}
	if i >= 0 {
		before := data[:i]
		p.Pos.Line = bytes.Count(before, []byte("\n")) + 1
		p.Pos.Column = i - bytes.LastIndexByte(before, '\n')
	}
	p.Message = "not YAML: " + msg
	if strings.Contains(msg, "cannot start any token") {
		p.Hint = "indent with spaces, not with tabs"
	}
	return p
}

// indexRune is where the first such character begins; -1: nowhere.
func indexRune(data []byte, such func(r rune, size int) bool) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if such(r, size) {
			return i
		}
		i += size
	}
	return -1
}
