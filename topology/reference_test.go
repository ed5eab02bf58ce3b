package topology

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// schemaObject is the part of a schema that the reference shows.
type schemaObject struct {
	Description string
	Properties  json.RawMessage
	Required    []string
	AnyOf       []schemaObject
	Enum        []string
	Items       *schemaObject
	Ref         string `json:"$ref"`
}

// mapping is the form with keys, among the shorthands.
func (o schemaObject) mapping() schemaObject {
	for _, form := range o.AnyOf {
		if len(form.Properties) > 0 {
			return form
		}
	}
	return o
}

const generated = "<!-- From here on"

// TestReferenceIsUpToDate holds docs/topology.md against the docstrings.
func TestReferenceIsUpToDate(t *testing.T) {
	const path = "../docs/topology.md"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := bytes.Cut(have, []byte(generated))
	if !ok {
		t.Fatalf("%s has no line that begins with %s", path, generated)
	}
	marker, _, _ := bytes.Cut(rest, []byte("\n"))
	out := bytes.NewBuffer(slices.Concat(head, []byte(generated), marker, []byte("\n")))
	writeReference(t, out)
	golden(t, path, out.Bytes())
}

func writeReference(t *testing.T, out *bytes.Buffer) {
	t.Helper()
	var root struct {
		schemaObject
		Defs map[string]schemaObject `json:"$defs"`
	}
	if err := json.Unmarshal(makeSchema(t), &root); err != nil {
		t.Fatal(err)
	}
	root.Description = ""
	writeObject(t, out, "The file", root.schemaObject)
	for _, def := range []struct{ name, title string }{
		{"NetworkSpec", "networks.NAME"},
		{"NodeSpec", "nodes.NAME"},
		{"DefaultsSpec", "nodes.NAME.defaults"},
		{"InterfaceSpec", "nodes.NAME.interfaces.NAME"},
		{"RouteSpec", "nodes.NAME.routes[]"},
		{"RuleSpec", "nodes.NAME.rules[]"},
		{"ResponderSpec", "nodes.NAME.serve[]"},
		{"CommandSpec", "nodes.NAME.run.NAME"},
		{"ReadySpec", "nodes.NAME.run.NAME.ready"},
		{"ServiceSpec", "services.NAME"},
		{"DirectorSpec", "director"},
		{"CheckSpec", "services.NAME.check"},
		{"HTTPCheckSpec", "services.NAME.check.http"},
		{"UDPCheckSpec", "services.NAME.check.udp"},
		{"GRPCCheckSpec", "services.NAME.check.grpc"},
		{"SorryServerSpec", "services.NAME.sorryServer"},
		{"PersistenceSpec", "services.NAME.persistence"},
		{"MarkSpec", "services.NAME.marks[]"},
		{"RealServerSpec", "services.NAME.realServers.NAME"},
		{"TunnelSpec", "services.NAME.realServers.NAME.tunnel"},
		{"FailoverSpec", "failover.NAME"},
		{"GroupDirectorSpec", "failover.NAME.directors.NAME"},
		{"AuthenticationSpec", "failover.NAME.authentication"},
		{"SyncSpec", "failover.NAME.sync"},
		{"ScenarioSpec", "scenarios.NAME"},
		{"TrafficSpec", "scenarios.NAME.traffic"},
		{"FaultSpec", "scenarios.NAME.faults[]"},
		{"ExpectSpec", "scenarios.NAME.expect"},
		{"HandoverSpec", "scenarios.NAME.expect.handover"},
	} {
		o, ok := root.Defs[def.name]
		if !ok {
			t.Fatalf("the schema has no %s", def.name)
		}
		delete(root.Defs, def.name)
		writeObject(t, out, "`"+def.title+"`", o)
	}
	delete(root.Defs, "ServeSpec") // none, or the list of nodes.NAME.serve[]
	if len(root.Defs) > 0 {
		t.Errorf("not in the reference: %v", root.Defs)
	}
	fmt.Fprint(out, "\n### Failure modes\n\n| id | meaning |\n|---|---|\n")
	source, err := os.ReadFile("failures.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range FailureModes {
		_, line, ok := strings.Cut(string(source), `"`+string(m)+`"`)
		if !ok {
			t.Fatalf("no comment tells what %s is", m)
		}
		meaning, _, _ := strings.Cut(strings.TrimLeft(line, " /"), "\n")
		fmt.Fprintf(out, "| `%s` | %s |\n", m, meaning)
	}
}

// writeObject writes the keys of a mapping in the order of the type.
func writeObject(t *testing.T, out *bytes.Buffer, title string, o schemaObject) {
	t.Helper()
	fmt.Fprintf(out, "\n### %s\n\n", title)
	if o.Description != "" {
		fmt.Fprintf(out, "%s\n\n", o.Description)
	}
	fmt.Fprint(out, "| key | meaning |\n|---|---|\n")
	form := o.mapping()
	var properties map[string]schemaObject
	if err := json.Unmarshal(form.Properties, &properties); err != nil {
		t.Fatal(err)
	}
	for _, name := range keysInOrder(t, form.Properties) {
		meaning := properties[name].Description
		if slices.Contains(form.Required, name) {
			meaning += " Required."
		}
		fmt.Fprintf(out, "| `%s` | %s |\n", name, strings.ReplaceAll(meaning, "|", `\|`))
	}
}

func keysInOrder(t *testing.T, object json.RawMessage) []string {
	t.Helper()
	var keys []string
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}
