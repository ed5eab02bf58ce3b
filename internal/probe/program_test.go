package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProgram(t *testing.T) {
	inPath, admin, other := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("PATH", inPath)
	old := adminDirs
	t.Cleanup(func() { adminDirs = old })
	adminDirs = []string{"/nowhere", admin}
	install := func(dir, name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/true\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	both := install(inPath, "both", 0o755)
	install(admin, "both", 0o755)
	only, elsewhere := install(admin, "only", 0o755), install(other, "elsewhere", 0o755)
	install(admin, "text", 0o644)
	for name, want := range map[string]string{"both": both, "only": only, elsewhere: elsewhere} {
		if got, err := Program(name); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"elsewhere", "text", other + "/only"} {
		got, err := Program(name)
		if err == nil {
			t.Errorf("%s: got %q", name, got)
			continue
		}
		for _, want := range []string{name + " is not installed", inPath, admin} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q", name, err, want)
			}
		}
	}
}
