package predict_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestGolden(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.script")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			in, err := predict.Parse(f)
			if err != nil {
				t.Fatal(err)
			}
			out, err := predict.Run(in)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := out.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".script")+".txt", text.Bytes())
			data, err := json.MarshalIndent(out, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".script")+".json", append(data, '\n'))

			again, err := predict.Parse(strings.NewReader(in.String()))
			if err != nil {
				t.Fatalf("parse the printed script: %v", err)
			}
			if diff := cmp.Diff(in.String(), again.String()); diff != "" {
				t.Errorf("printed, parsed and printed again:\n%s", diff)
			}
		})
	}
}

func TestParseReportsEveryLine(t *testing.T) {
	_, err := predict.Parse(strings.NewReader(`service tcp 10.0.0.1:80 rrr
add 10.0.1.1
opne x5
open x0
add 10.0.1.1:80 wieght 3
close
kernel new
service tcp 10.0.0.1:80 sh flags sh-prot
`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`line 1: unknown scheduler "rrr"`, "line 2: destination:", `line 3: unknown word "opne"`,
		`line 4: "x0"`, `line 5: unknown word "wieght"; allowed are lower, upper, weight`,
		`line 6: "close" is not a whole line`, `line 7: unknown kernel rule "new"`, `line 8: flags: unknown flag "sh-prot"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	if _, err := predict.Parse(strings.NewReader("# nothing\n")); err == nil {
		t.Error("a script without a service is taken")
	}
}

func TestRunNamesTheRefusedEvent(t *testing.T) {
	in, err := predict.Parse(strings.NewReader("service tcp 10.0.0.1:80 rr\nadd 10.0.1.1:80\nadd 10.0.1.1:80\n"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := predict.Run(in)
	if err == nil || !strings.Contains(err.Error(), "event 2") || len(out.Steps) != 1 {
		t.Errorf("%d steps, error %v", len(out.Steps), err)
	}
}
