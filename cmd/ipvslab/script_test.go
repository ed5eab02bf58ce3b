package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/guest/choose"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: the command line as users type it. A script
// has the examples in $EXAMPLES and a place of its own, which must be clean at the end.
func TestScripts(t *testing.T) {
	why, kernel := noKernel()
	if why != "" && os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" {
		t.Fatal(why)
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			p := newPlace(e.T().(testing.TB))
			for _, v := range append(p.vars(), "EXAMPLES="+examples) {
				name, value, _ := strings.Cut(v, "=")
				e.Setenv(name, value)
			}
			for _, name := range []string{"IPVSLAB_KVM", choose.Env} {
				e.Setenv(name, os.Getenv(name))
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "kernel": // labs can run here, in one kernel or another
				return why == "", nil
			case "guest": // and that is a guest's
				return why == "" && kernel.Decision.Launcher != choose.Host, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": scriptStatus, "keys": scriptKeys, "bytes": scriptBytes,
		},
	})
}

// scriptStatus runs a command that must end with a status: status 7 ipvslab exec ...
func scriptStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	script := `"$@"; echo $? > $WORK/.status`
	ts.Check(ts.Exec("sh", append([]string{"-c", script, "sh"}, args[1:]...)...))
	if got := strings.TrimSpace(ts.ReadFile(ts.MkAbs(ts.Getenv("WORK") + "/.status"))); got != strconv.Itoa(want) {
		ts.Fatalf("exit status %s, want %d", got, want)
	}
}

// scriptKeys compares the keys of a JSON object, or of the first one in a list:
// keys stdout name phase ...; those that may be missing have a question mark.
func scriptKeys(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &v); err != nil {
		ts.Fatalf("not JSON: %v", err)
	}
	if list, ok := v.([]any); ok {
		if len(list) == 0 {
			ts.Fatalf("an empty list")
		}
		v = list[0]
	}
	object, ok := v.(map[string]any)
	if !ok {
		ts.Fatalf("neither an object nor a list of them")
	}
	var known []string
	for _, key := range args[1:] {
		name, optional := strings.CutSuffix(key, "?")
		known = append(known, name)
		if _, ok := object[name]; !ok && !optional {
			ts.Fatalf("no key %q among %v", name, slices.Sorted(maps.Keys(object)))
		}
	}
	for key := range object {
		if !slices.Contains(known, key) {
			ts.Fatalf("unexpected key %q", key)
		}
	}
}

// scriptBytes writes a file with every byte value in it many times: bytes FILE SIZE.
func scriptBytes(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}
