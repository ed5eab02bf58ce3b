package assertions_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega/types"

	"github.com/ipvslab/ipvslab/lab"
)

var update = flag.Bool("update", false, "rewrite the messages in testdata")

func TestMain(m *testing.M) {
	lab.Hook()
	os.Exit(m.Run())
}

// verdict is a matcher, what it looks at, and whether it must pass. The
// message of the assertion that fails is in the golden file: To's if it does
// not pass, NotTo's if it does.
type verdict struct {
	name    string
	matcher types.GomegaMatcher
	actual  any
	pass    bool
}

// judge checks verdicts and compares their messages with testdata/NAME.golden.
func judge(t *testing.T, golden string, verdicts ...verdict) {
	t.Helper()
	var b strings.Builder
	for _, v := range verdicts {
		pass, err := v.matcher.Match(v.actual)
		if err != nil || pass != v.pass {
			t.Errorf("%s: got %t, %v, want %t", v.name, pass, err, v.pass)
			continue
		}
		message := v.matcher.FailureMessage
		if pass {
			message = v.matcher.NegatedFailureMessage
		}
		fmt.Fprintf(&b, "== %s: %t\n%s\n", v.name, pass, message(v.actual))
	}
	compare(t, filepath.Join("testdata", golden+".golden"), b.String())
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("messages differ from %s (-want +got); -update rewrites it:\n%s", path, d)
	}
}

// mistaken checks that a matcher is an error for these, in both senses, with
// what the message has to say.
func mistaken(t *testing.T, matcher types.GomegaMatcher, says string, actuals ...any) {
	t.Helper()
	for _, a := range actuals {
		pass, err := matcher.Match(a)
		if pass || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%T: got %t, %v, want an error with %q", a, pass, err, says)
		}
	}
}
