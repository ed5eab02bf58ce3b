package lab_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
)

// Root's labs do not stand in an ordinary user's way: they are not there.
func TestRootsLabsAreHidden(t *testing.T) {
	if dir := os.Getenv("IPVSLAB_TEST_HIDDEN"); dir != "" {
		t.Setenv("IPVSLAB_STATE", dir)
		if names, err := lab.List(); err != nil || len(names) > 0 {
			t.Errorf("List: %v, %v", names, err)
		}
		if _, err := lab.ReadStatus("theirs"); !errors.Is(err, lab.ErrNotExist) {
			t.Errorf("ReadStatus: %v", err)
		}
		if found, err := lab.Down(t.Context(), "theirs"); found || err != nil {
			t.Errorf("Down: %t, %v", found, err)
		}
		return
	}
	probetest.Namespaces(t)
	dir, err := os.MkdirTemp("", "hidden")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self := filepath.Join(dir, "test")
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(self, data, 0o755), os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(dir, "labs", "theirs"), 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestRootsLabsAreHidden$")
	cmd.Env = append(os.Environ(), "IPVSLAB_TEST_HIDDEN="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as uid 1000: %v\n%s", err, out)
	}
}
