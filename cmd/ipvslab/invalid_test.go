package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestInvalidFiles: each broken topology is one report and status 2, whatever
// was to be done with it, and nothing is touched.
func TestInvalidFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../topology/testdata/invalid-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no invalid topologies: %v", err)
	}
	p := newPlace(t)
	for i, file := range files {
		file, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		verbs := [][]string{{"validate", file}, {"up", file}, {"run", file, "--", "touch", "touched"}, {"plan", file}, {"tutorial", file}}
		first := p.run(verbs[0]...)
		if lines := strings.Count(first.errors, file+":"); lines == 0 {
			t.Errorf("validate %s: no line of the report says where:\n%s", file, first.errors)
		}
		second := verbs[1+i%(len(verbs)-1)] // each verb meets a quarter of the files
		for verb, r := range map[string]result{"validate": first, second[0]: p.run(second...)} {
			if r.status != exitUsage || r.out != "" {
				t.Errorf("%s %s: status %d, output %q", verb, file, r.status, r.out)
			}
			if strings.TrimPrefix(r.errors, "ipvslab: ") == "" || strings.Contains(r.errors, "goroutine ") {
				t.Errorf("%s %s: %q", verb, file, r.errors)
			}
			// One report: what validate says, each line once, beside the line of the verb's own.
			for line := range strings.Lines(first.errors) {
				if n := strings.Count(r.errors, line); n != 1 {
					t.Errorf("%s %s: told %d times: %s", verb, file, n, line)
				}
			}
		}
	}
	if left := append(p.files(), p.made()...); len(left) > 0 {
		t.Errorf("touched: %v", left)
	}
}

// made lists what is in the working directory.
func (p *place) made() []string {
	names, err := filepath.Glob(p.dir + "/*")
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}
