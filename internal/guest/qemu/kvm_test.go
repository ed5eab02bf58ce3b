package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The decision about KVM, with a stand-in for the device: the real one is
// never touched here.
func TestChooseAccel(t *testing.T) {
	works := func(context.Context) error { return nil }
	broken := func(context.Context) error { return errors.New("hangs") }
	tests := map[string]struct {
		setting string // IPVSLAB_KVM
		device  bool
		tries   []func(context.Context) error // one per start
		want    Accel                         // of the last
		tried   int
		status  string
	}{
		"no device":            {"", false, []func(context.Context) error{works}, TCG, 0, "no /"},
		"switched off":         {"off", true, []func(context.Context) error{works}, TCG, 0, "switched off"},
		"works":                {"", true, []func(context.Context) error{works}, KVM, 1, "works"},
		"works, remembered":    {"", true, []func(context.Context) error{works, broken}, KVM, 1, "works"},
		"does not":             {"", true, []func(context.Context) error{broken}, TCG, 1, "does not work: hangs"},
		"does not, remembered": {"", true, []func(context.Context) error{broken, works}, TCG, 1, "does not work: hangs"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("IPVSLAB_KVM", tt.setting)
			standIn(t, dir, tt.device)
			kernel := filepath.Join(dir, "vmlinuz")
			writeFile(t, kernel, "kernel")
			var got Accel
			tried := 0
			for _, try := range tt.tries {
				got = ChooseAccel(t.Context(), dir, kernel, func(ctx context.Context) error {
					tried++
					if _, ok := ctx.Deadline(); !ok {
						t.Error("the probe boot has no time limit")
					}
					return try(ctx)
				})
			}
			if got != tt.want || tried != tt.tried {
				t.Errorf("%s after %d probe boots, want %s after %d", got, tried, tt.want, tt.tried)
			}
			if s := KVMStatus(dir, kernel); !strings.HasPrefix(s, tt.status) {
				t.Errorf("status %q, want %q", s, tt.status)
			}
		})
	}
}

// A verdict holds for one kernel, and an interrupted probe gives none.
func TestKVMVerdictIsForOneKernel(t *testing.T) {
	t.Setenv("IPVSLAB_KVM", "")
	dir := t.TempDir()
	standIn(t, dir, true)
	kernel := filepath.Join(dir, "vmlinuz")
	writeFile(t, kernel, "one")
	ctx, cancel := context.WithCancel(t.Context())
	if a := ChooseAccel(ctx, dir, kernel, func(context.Context) error { cancel(); return ctx.Err() }); a != TCG {
		t.Errorf("interrupted: %s, want %s", a, TCG)
	}
	if s := KVMStatus(dir, kernel); !strings.HasPrefix(s, "not tried") {
		t.Errorf("an interrupted probe was remembered: %s", s)
	}
	works := func(context.Context) error { return nil }
	if a := ChooseAccel(t.Context(), dir, kernel, works); a != KVM {
		t.Errorf("%s, want %s", a, KVM)
	}
	writeFile(t, kernel, "another")
	if s := KVMStatus(dir, kernel); !strings.HasPrefix(s, "not tried") {
		t.Errorf("the verdict on one kernel was taken for another: %s", s)
	}
}

func standIn(t *testing.T, dir string, there bool) {
	t.Helper()
	real := kvmDevice
	t.Cleanup(func() { kvmDevice = real })
	kvmDevice = filepath.Join(dir, "device")
	if there {
		writeFile(t, kvmDevice, "")
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
