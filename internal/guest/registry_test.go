package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// inRuntimeDir gives the test a runtime directory of its own.
func inRuntimeDir(t *testing.T) string {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := runtimeDir(true)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestStale: of a guest whose supervisor is gone the next call leaves nothing, and it names its labs once.
func TestStale(t *testing.T) {
	root := inRuntimeDir(t)
	dir := filepath.Join(root, "abc")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// This process's pid with another start time: a pid that was used again.
	if err := writeInfo(dir, Info{ID: "abc", PID: os.Getpid(), Start: 1, Labs: []string{"one"}}); err != nil {
		t.Fatal(err)
	}
	live, dead, err := List()
	if err != nil || len(live) != 0 || len(dead) != 1 || dead[0].ID != "abc" {
		t.Errorf("live %v, dead %v, %v", live, dead, err)
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the runtime directory is still there: %v", err)
	}
	if _, err := Find("one", nil); !errors.Is(err, ErrNoGuest) {
		t.Errorf("find again: %v", err)
	}
}

// TestRuntimeDir: a directory that others can enter or replace is refused.
func TestRuntimeDir(t *testing.T) {
	dir := inRuntimeDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := runtimeDir(true); err == nil {
		t.Error("open to others: no error")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := runtimeDir(true); err == nil {
		t.Error("a symbolic link: no error")
	}
}

// TestLongRuntimeDir: a directory in which no socket's path would fit is passed over.
func TestLongRuntimeDir(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 90))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", long)
	t.Setenv("TMPDIR", long)
	dir, err := runtimeDir(false)
	if err != nil && !errors.Is(err, os.ErrNotExist) || strings.HasPrefix(dir, long) {
		t.Errorf("%s, %v", dir, err)
	}
}

func TestFillOptions(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	var notes []string
	o, err := Options{Kernel: "/k", Dir: link, Writable: []string{dir, "/", "/dev/shm"}, Note: func(n string) { notes = append(notes, n) }}.fill()
	if err != nil || len(o.Writable) != 1 || o.Writable[0] != dir || len(notes) != 2 {
		t.Errorf("writable %v, notes %q, %v", o.Writable, notes, err)
	}
	if _, err := (Options{}).fill(); err == nil {
		t.Error("no kernel: no error")
	}
	if _, err := (Options{Kernel: "/k", Dir: "/nonexistent"}).fill(); err == nil {
		t.Error("no such directory: no error")
	}
}

// TestUnborn: the directory of a guest in the making is left alone as long as its maker lives.
func TestUnborn(t *testing.T) {
	root := inRuntimeDir(t)
	start, err := sandbox.StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	mine, orphaned := unbornName(os.Getpid(), start, "a"), unbornName(os.Getpid(), start+1, "b")
	for _, name := range []string{mine, orphaned} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if live, dead, err := List(); err != nil || len(live) != 0 || len(dead) != 0 {
		t.Errorf("live %v, dead %v, %v", live, dead, err)
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 1 || left[0].Name() != mine {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A supervisor may write why its guest died, and end, between two looks of another process.
func TestLastWord(t *testing.T) {
	dir := t.TempDir()
	seen := Info{ID: "abc", PID: 1, Labs: []string{"one"}}
	if got := seen.lastWord(dir).diedError().Reason.Error(); got != "its supervisor process was killed" {
		t.Errorf("without a record: %q", got)
	}
	said := seen
	said.Died = "its kernel panicked"
	if err := writeInfo(dir, said); err != nil {
		t.Fatal(err)
	}
	if got := seen.lastWord(dir).diedError().Reason.Error(); got != said.Died {
		t.Errorf("got %q, want what the supervisor said last", got)
	}
}
