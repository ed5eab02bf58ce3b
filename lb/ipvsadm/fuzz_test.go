package ipvsadm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/lb/lbtest"
)

// FuzzParse: no command line makes the parser panic; one that it takes can be
// carried out.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/diff/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		for _, s := range readSequences(f, file) {
			for _, c := range s.lines {
				f.Add(strings.Join(c.argv[1:], "\x00"))
			}
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		argv := append([]string{"ipvsadm"}, strings.Split(line, "\x00")...)
		cmd, err := ipvsadm.Parse(argv, nil)
		if err != nil || cmd.Verb == ipvsadm.Check {
			return
		}
		var out bytes.Buffer
		env := ipvsadm.Env{Table: &lbtest.Fake{}, Names: ipvsadm.NoNames{}, Stdout: &out, Stderr: &out}
		if status := ipvsadm.Run(t.Context(), env, argv); status == 2 {
			t.Fatalf("%q was parsed and then refused: %s", argv, out.String())
		}
	})
}

// FuzzReadRules: what was read can be written, and read again to the same end.
func FuzzReadRules(f *testing.F) {
	for _, path := range []string{"testdata/rules.txt"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(rules)
	f.Add("-C  ")
	f.Add("\r\n\tipvsadm -A -t 1.2.3.4:80\n")
	f.Fuzz(func(t *testing.T, text string) {
		services, _ := ipvsadm.ReadRules(strings.NewReader(text), nil, nil)
		for _, s := range services {
			if s.Engine != "" || strings.ContainsAny(s.Scheduler, " \t\r\n\x00") || s.Scheduler == "ipvsadm" || strings.HasPrefix(s.Scheduler, "-") {
				return
			}
			for _, d := range s.Destinations {
				if d.Upper != 0 {
					return
				}
			}
		}
		var out bytes.Buffer
		if _, err := ipvsadm.Export(&out, services, ipvsadm.Rules, ipvsadm.ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		again, err := ipvsadm.ReadRules(bytes.NewReader(out.Bytes()), nil, nil)
		if err != nil || strings.Join(specs(services), "\n") != strings.Join(specs(again), "\n") {
			t.Fatalf("%q\nwritten as\n%s\nread as %v, %v", text, out.String(), again, err)
		}
		for _, d := range ipvsadm.Dialects {
			if _, err := ipvsadm.Export(&out, services, d, ipvsadm.ExportOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
