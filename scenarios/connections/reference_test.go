package connections_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	reference = "../../docs/connections.md"
	generated = "<!-- From here on made of the claims by go test ./scenarios/connections -run Reference -update -->\n"
)

// TestReference holds docs/connections.md to what the claims say, and each
// claim to having a proof or a reason.
func TestReference(t *testing.T) {
	old, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(old), generated)
	if !ok {
		t.Fatalf("%s has no line %q", reference, generated)
	}
	text := head + generated
	for _, g := range claims() {
		text += table(t, g.heading, g.list)
	}
	if *update {
		if err := os.WriteFile(reference, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(old), text); diff != "" {
		t.Errorf("%s is not up to date (-update writes it); -file +claims:\n%s", reference, diff)
	}
}

func table(t *testing.T, heading string, list []claim) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n| %s | what it does | seen |\n|---|---|---|\n", heading, firstWord(heading))
	for _, c := range list {
		if (c.play == nil) != (c.variants == nil) || c.cannot == "" && len(c.variants) < 2 {
			t.Errorf("%s: neither a proof (two variants or more) nor a reason why there is none", c.name)
		}
		var seen []string
		for _, v := range c.variants {
			seen = append(seen, fmt.Sprintf("**%s**: %s", v.value, v.shows))
		}
		if c.cannot != "" {
			seen = append(seen, "not shown: "+c.cannot)
		}
		names := "`" + strings.ReplaceAll(c.name, " ", "` `") + "`"
		if heading != settingsHeading {
			names = c.name
		}
		fmt.Fprintf(&b, "| %s | %s (%s) | %s |\n", names, c.does, c.source, strings.Join(seen, "; "))
	}
	return b.String()
}

func firstWord(heading string) string {
	if heading == settingsHeading {
		return "setting"
	}
	return "rule"
}
