package topology

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// report is what validate shows of a file.
func report(path string) string {
	_, problems, err := Open(path, "")
	if err == nil && len(problems) == 0 {
		return "ok\n"
	}
	if len(problems) == 0 {
		return err.Error() + "\n"
	}
	return strings.ReplaceAll(problems.Error(), filepath.ToSlash(filepath.Dir(path))+"/", "") + "\n"
}

func TestInvalidFilesAreReported(t *testing.T) {
	for _, path := range files(t, "testdata/invalid-*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			plan, problems, err := Open(path, "")
			if plan != nil || err == nil {
				t.Fatalf("accepted, with %v", problems)
			}
			for _, p := range problems {
				if p.Pos.File == "" || p.Message == "" {
					t.Errorf("incomplete problem %+v", p)
				}
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".golden", []byte(report(path)))
		})
	}
}

func TestValidFilesGiveTheirPlan(t *testing.T) {
	for _, path := range append(files(t, "testdata/valid-*.yaml"), files(t, "../examples/*.yaml")...) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			plan, _, err := Open(path, "")
			if err != nil {
				t.Fatalf("refused:\n%v", err)
			}
			plan.Source = filepath.Base(path)
			var b bytes.Buffer
			b.WriteString("problems:\n" + report(path) + "\n")
			if err := Describe(&b, plan); err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(filepath.Base(path), ".yaml")
			golden(t, filepath.Join("testdata", name+".golden"), b.Bytes())
		})
	}
}

func TestExamplesHaveNoProblems(t *testing.T) {
	most := map[string]int{"minimal.yaml": 20, "article.yaml": 60}
	for _, path := range files(t, "../examples/*.yaml") {
		if got := report(path); got != "ok\n" {
			t.Errorf("%s:\n%s", path, got)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(data, []byte("\n"))
		if m := most[filepath.Base(path)]; m > 0 && lines > m {
			t.Errorf("%s has %d lines, at most %d were promised", path, lines, m)
		}
	}
}
