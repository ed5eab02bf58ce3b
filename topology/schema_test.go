package topology

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write golden files, the schema and its documentation")

// JSONSchemaAlias makes the schema's generator see an Ordered as the mapping it is.
func (Ordered[V]) JSONSchemaAlias() any { return map[string]V{} }

// JSONSchemaAlias does the same for real servers; the list is among the shorthands.
func (RealServers) JSONSchemaAlias() any { return map[string]RealServerSpec{} }

// JSONSchemaAlias does the same for a group's directors.
func (GroupDirectors) JSONSchemaAlias() any { return map[string]GroupDirectorSpec{} }

// patterns are the shapes of the values that are one word.
var patterns = map[reflect.Type]*jsonschema.Schema{
	addrType:                        word(`^[0-9A-Fa-f.:]+$`),
	prefixType:                      word(`^[0-9A-Fa-f.:]+/[0-9]{1,3}$`),
	reflect.TypeFor[AddressSpec]():  word(`^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$`),
	reflect.TypeFor[RouteTarget]():  word(`^(default|[0-9A-Fa-f.:]+(/[0-9]{1,3})?)$`),
	reflect.TypeFor[HardwareAddr](): word(`^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$`),
	reflect.TypeFor[StatusRange]():  anyOf(integer(100, 599), word(`^[1-5][0-9]{2} *- *[1-5][0-9]{2}$`)),
	reflect.TypeFor[NodeFiles]():    anyOf(&jsonschema.Schema{Type: "string"}, &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{Type: "string"}}),
	reflect.TypeFor[PortRange]():    anyOf(integer(1, 65535), word(`^[0-9]{1,5} *- *[0-9]{1,5}$`)),
	reflect.TypeFor[Duration]():     anyOf(integer(0, 1<<31-1), word(`^([0-9.]+(ns|us|µs|ms|s|m|h))+$`)),
	reflect.TypeFor[Percent]():      anyOf(&jsonschema.Schema{Type: "number", Minimum: "0", Maximum: "100"}, word(`^[0-9.]+%?$`)),
	reflect.TypeFor[SysctlValue]():  {Extras: map[string]any{"type": []string{"string", "number", "boolean"}}},
}

func word(pattern string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: pattern}
}

func integer(least, most int) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "integer", Minimum: json.Number(itoa(least)), Maximum: json.Number(itoa(most))}
}

func anyOf(s ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: s} }

func oneOrMany(s *jsonschema.Schema) *jsonschema.Schema {
	return anyOf(s, &jsonschema.Schema{Type: "array", Items: s})
}

// mapper gives words, closed sets and lists their schema.
func mapper(t reflect.Type) *jsonschema.Schema {
	if s := patterns[t]; s != nil {
		return clone(s)
	}
	if e, ok := reflect.Zero(t).Interface().(enumerated); ok {
		s := &jsonschema.Schema{Type: "string"}
		for _, w := range e.allowed() {
			s.Enum = append(s.Enum, w)
		}
		return s
	}
	if strings.HasPrefix(t.Name(), "List[") {
		if t.Elem().Kind() == reflect.String && mapper(t.Elem()) == nil {
			return oneOrMany(&jsonschema.Schema{Type: "string"})
		}
		if one := mapper(t.Elem()); one != nil {
			return oneOrMany(one)
		}
		// A list of definitions: see oneToo.
	}
	return nil
}

// clone copies a schema, for a field's description is written into it.
func clone(s *jsonschema.Schema) *jsonschema.Schema { c := *s; return &c }

// shorthands are the other forms of a definition, beside the mapping.
func shorthands() map[string][]*jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	list := &jsonschema.Schema{Type: "array", Items: text}
	null := &jsonschema.Schema{Type: "null"}
	yes := &jsonschema.Schema{Type: "boolean", Const: true}
	return map[string][]*jsonschema.Schema{
		"NetworkSpec":       {oneOrMany(patterns[prefixType])},
		"InterfaceSpec":     {oneOrMany(patterns[reflect.TypeFor[AddressSpec]()]), null},
		"CommandSpec":       {list},
		"ServeSpec":         {{Type: "string", Const: "none"}},
		"PersistenceSpec":   {yes, patterns[reflect.TypeFor[Duration]()]},
		"DirectorSpec":      {mapper(reflect.TypeFor[DirectorKind]())},
		"CheckSpec":         {{Type: "string", Enum: []any{"tcp", "http", "udp", "grpc"}}},
		"HTTPCheckSpec":     {yes, text},
		"UDPCheckSpec":      {yes},
		"GRPCCheckSpec":     {yes, text},
		"SorryServerSpec":   {text},
		"TunnelSpec":        {mapper(reflect.TypeFor[TunnelName]())},
		"RealServerSpec":    {integer(0, 65535), null},
		"GroupDirectorSpec": {integer(1, 254), null},
		"SyncSpec":          {{Type: "boolean"}, mapper(reflect.TypeFor[SyncName]())},
		"FaultSpec":         {text},
		"TrafficSpec":       {integer(1, 1<<31-1)},
		"ExpectSpec":        {{Type: "string", Enum: []any{"predicted", "answered", "refused", "timeout", "reset"}}},
	}
}

func makeSchema(t *testing.T) []byte {
	t.Helper()
	r := &jsonschema.Reflector{Mapper: mapper, ExpandedStruct: true, Anonymous: true}
	if err := r.AddGoComments("github.com/ipvslab/ipvslab/topology", "./", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	root := r.Reflect(&Topology{})
	for _, def := range root.Definitions { // docstrings begin with the type's name
		if _, what, ok := strings.Cut(def.Description, " is "); ok {
			def.Description = strings.ToUpper(what[:1]) + what[1:]
		}
	}
	oneToo(root.Definitions["ServiceSpec"], "check", "CheckSpec")
	oneToo(root.Definitions["RealServerSpec"], "check", "CheckSpec")
	for name := range root.Definitions {
		if strings.HasPrefix(name, "List[") { // named nowhere any more
			delete(root.Definitions, name)
		}
	}
	for name, forms := range shorthands() {
		def := root.Definitions[name]
		if def == nil {
			t.Fatalf("no definition %s for its shorthands", name)
		}
		description := def.Description
		def.Description = ""
		root.Definitions[name] = anyOf(append(forms, def)...)
		root.Definitions[name].Description = description
	}
	listToo(root.Definitions["ServiceSpec"], "realServers")
	listToo(root.Definitions["FailoverSpec"], "directors")
	version, _ := root.Properties.Get("apiVersion")
	version.Const = APIVersion
	root.PatternProperties = map[string]*jsonschema.Schema{"^x-": jsonschema.TrueSchema}
	root.Title = "ipvslab topology"
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	space := regexp.MustCompile(`\\n`)
	return append(space.ReplaceAll(data, []byte(" ")), '\n')
}

// oneToo lets a list of definitions be one alone.
func oneToo(def *jsonschema.Schema, key, item string) {
	list, _ := def.Properties.Get(key)
	both := oneOrMany(&jsonschema.Schema{Ref: "#/$defs/" + item})
	both.Description = list.Description
	def.Properties.Set(key, both)
}

// listToo lets a mapping of nodes be a list of their names, or one name.
func listToo(def *jsonschema.Schema, key string) {
	mapping, _ := def.Properties.Get(key)
	list := &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string"}}
	both := anyOf(&jsonschema.Schema{Type: "string"}, list, &jsonschema.Schema{Type: "object", AdditionalProperties: mapping.AdditionalProperties})
	both.Description = mapping.Description
	def.Properties.Set(key, both)
}

func TestSchemaIsUpToDate(t *testing.T) {
	golden(t, "schema.json", makeSchema(t))
}

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s is out of date; go test ./topology -update (-file +now):\n%s", path, d)
	}
}

func compileSchema(t *testing.T) *validator.Schema {
	t.Helper()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(makeSchema(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is what an editor's validator sees of a YAML file.
func asJSON(t *testing.T, path string) (any, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	j, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return validator.UnmarshalJSON(bytes.NewReader(j))
}

func TestSchemaAcceptsWhatParses(t *testing.T) {
	s := compileSchema(t)
	for _, path := range append(files(t, "../examples/*.yaml"), files(t, "testdata/valid-*.yaml")...) {
		v, err := asJSON(t, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSchemaRefusesStructure(t *testing.T) {
	s := compileSchema(t)
	for _, path := range files(t, "testdata/invalid-structure-*.yaml") {
		if v, err := asJSON(t, path); err == nil && s.Validate(v) == nil {
			t.Errorf("%s: the schema has nothing against it", path)
		}
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	slices.Sort(paths)
	return paths
}
