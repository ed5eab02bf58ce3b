package image

import (
	"os"
	"testing"
	"time"
)

// TestFetchReal fetches real packages from this system's mirror into a cache
// of its own. It is for hand and for release, not for every run.
func TestFetchReal(t *testing.T) {
	if os.Getenv("IPVSLAB_TEST_FETCH") == "" {
		t.Skip("fetches 150 MiB: set IPVSLAB_TEST_FETCH=1 to run it")
	}
	f := Fetcher{Cache: t.TempDir(), Progress: os.Stderr}
	packages := append(Packages(UML), Packages(QEMU)...)
	for _, p := range packages {
		start := time.Now()
		tree, err := f.Fetch(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s in %s: %s", p.Name, time.Since(start), tree)
		again, err := f.Fetch(t.Context(), p)
		if err != nil || again != tree {
			t.Errorf("second fetch: %s, %v; want %s", again, err, tree)
		}
	}
	ks, err := Find(t.Context(), Want{Cache: f.Cache, Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		t.Log(k, k.Modules, k.Unfit)
	}
	if len(Usable(ks)) != 2 {
		t.Errorf("found %v, want a kernel for each launcher", ks)
	}
	t.Setenv("PATH", "/nonexistent")
	q, err := FindQEMU(f.Cache)
	if err != nil {
		t.Fatal(err)
	}
	out, err := run(t.Context(), "", "/usr/bin/env", append([]string{"LD_LIBRARY_PATH=" + q.LibraryPath(), q.Path, "-M", "microvm", "-L", q.Data[0]}, "--version")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
}
