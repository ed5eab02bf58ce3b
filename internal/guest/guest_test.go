package guest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipvslab/ipvslab/internal/guest"
)

func TestMain(m *testing.M) {
	guest.Hook()
	os.Exit(m.Run())
}

// options are those of a user-mode Linux at hand.
func options(t *testing.T) guest.Options {
	t.Helper()
	for _, root := range []string{"/usr", "/tmp/uml/usr"} {
		kernel := root + "/bin/linux.uml"
		if _, err := os.Stat(kernel); err != nil {
			continue
		}
		dirs, err := filepath.Glob(root + "/lib/uml/modules/*")
		if err != nil || len(dirs) == 0 {
			t.Fatalf("no modules for %s: %v", kernel, err)
		}
		return guest.Options{Kernel: kernel, ModulesDir: dirs[0], Dir: t.TempDir(), Note: func(s string) { t.Log("note:", s) }}
	}
	if os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" {
		t.Fatal("no user-mode Linux found")
	}
	t.Skip("no user-mode Linux found")
	panic("unreachable")
}

func TestStatusAndStreams(t *testing.T) {
	o := options(t)
	var stdout, stderr bytes.Buffer
	status, err := guest.Run(t.Context(), o, guest.Command{
		Argv:   []string{"sh", "-c", "cat; echo problem >&2; echo kept > file; exit 7"},
		Stdin:  bytes.NewBufferString("hello\n"),
		Stdout: &stdout, Stderr: &stderr, Dir: o.Dir,
	})
	if err != nil || status != 7 || stdout.String() != "hello\n" || stderr.String() != "problem\n" {
		t.Errorf("status %d, error %v, stdout %q, stderr %q", status, err, &stdout, &stderr)
	}
	if b, err := os.ReadFile(filepath.Join(o.Dir, "file")); err != nil || string(b) != "kept\n" {
		t.Errorf("file written in the guest: %q, %v", b, err)
	}
}
