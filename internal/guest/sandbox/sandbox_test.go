package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	Hook()
	if len(os.Args) > 1 && os.Args[1] == "confined" {
		confined(os.Args[2:])
	}
	os.Exit(m.Run())
}

// confined plays the guest kernel's process: it tries one thing and prints what came of it.
func confined(args []string) {
	fmt.Println(try(args))
	os.Exit(0)
}

func try(args []string) any {
	switch args[0] {
	case "write":
		return os.WriteFile(args[1], []byte("x\n"), 0o644)
	case "read":
		b, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		return string(b)
	}
	return "what?"
}

// run runs one try in a sandbox and returns its word.
func run(t *testing.T, spec Spec, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	spec.Argv = append([]string{Self, "confined"}, args...)
	spec.Output = &out
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &out)
	}
	t.Logf("%s %v: %v", p.Mode(), p.Notes(), args)
	return strings.TrimSpace(out.String())
}

func TestSmoke(t *testing.T) {
	d := t.TempDir()
	t.Log(run(t, Spec{Writable: []string{d}}, "write", d+"/x"))
	t.Log(run(t, Spec{Writable: []string{d}}, "write", "/tmp/xxx"))
	t.Log(run(t, Spec{Writable: []string{d}}, "read", "/proc/self/mountinfo"))
	t.Log(run(t, Spec{Writable: []string{d}}, "read", "/proc/self/status"))
}
