package qemu_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/internal/guest/boot"
	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/modules"
	"github.com/ipvslab/ipvslab/internal/guest/qemu"
	"github.com/ipvslab/ipvslab/internal/guest/session"
)

func TestMain(m *testing.M) {
	guest.Hook()
	os.Exit(m.Run())
}

// options are those of a QEMU guest, if this machine has what it takes.
func options(t *testing.T) guest.Options {
	t.Helper()
	t.Setenv("IPVSLAB_KVM", "off")
	lacks := func(what any) {
		t.Helper()
		if os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	if err := qemu.CheckStatic("/proc/self/exe"); errors.Is(err, qemu.ErrDynamic) {
		lacks(err)
	}
	if _, err := image.FindQEMU(""); errors.Is(err, image.ErrNoEmulator) {
		lacks(err)
	} else if err != nil {
		t.Fatal(err)
	}
	kernels, err := image.Find(t.Context(), image.Want{Launcher: image.QEMU, Path: os.Getenv("IPVSLAB_TEST_QEMU_KERNEL")})
	if err != nil {
		t.Fatal(err)
	}
	usable := image.Usable(kernels)
	if len(usable) == 0 {
		lacks("no kernel for QEMU; get one with: ipvslab kernel fetch")
	}
	k := usable[0]
	t.Log(k)
	return guest.Options{
		Launcher: image.QEMU, Kernel: k.Path, ModulesDir: k.Modules, Dir: t.TempDir(),
		Memory: 256 << 20, Note: func(s string) { t.Log("note:", s) },
	}
}

// Both of x86's machines boot, and the modules that a lab needs load.
func TestEveryMachineBoots(t *testing.T) {
	o := options(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := modules.Make(t.TempDir(), o.ModulesDir, modules.Required())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"microvm", "q35"} {
		t.Run(name, func(t *testing.T) {
			m, err := qemu.Launcher{Machine: name}.Launch(t.Context(), machine.Spec{
				Kernel: o.Kernel, ModulesDir: o.ModulesDir, Memory: o.Memory, Init: self,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Kill()
			client, err := session.NewClient(m.Line())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Configure(boot.Config{Modules: plan.Files}); err != nil {
				t.Errorf("configure: %v (%v)\n%s", err, m.Err(), m.Console())
			}
		})
	}
}

func TestStatusStreamsAndFiles(t *testing.T) {
	o := options(t)
	var stdout, stderr bytes.Buffer
	status, err := guest.Run(t.Context(), o, guest.Command{
		Argv:   []string{"sh", "-c", "cat; echo problem >&2; echo kept > file; uname -r; id -u; touch /etc/no 2>/dev/null && echo written; exit 7"},
		Stdin:  strings.NewReader("hello\n"),
		Stdout: &stdout, Stderr: &stderr, Dir: o.Dir,
	})
	if err != nil || status != 7 {
		t.Fatalf("status %d, %v; want 7", status, err)
	}
	if !strings.HasPrefix(stdout.String(), "hello\n") || strings.Contains(stdout.String(), "written") || stderr.String() != "problem\n" {
		t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
	}
	if b, err := os.ReadFile(filepath.Join(o.Dir, "file")); err != nil || string(b) != "kept\n" {
		t.Errorf("file written in the guest: %q, %v", b, err)
	}
}

func TestMebibyteBothWays(t *testing.T) {
	o := options(t)
	in := make([]byte, 1<<20)
	if _, err := rand.Read(in); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status, err := guest.Run(t.Context(), o, guest.Command{
		Argv: []string{"cat"}, Stdin: bytes.NewReader(in), Stdout: &out, Dir: o.Dir,
	})
	if err != nil || status != 0 {
		t.Fatalf("status %d, %v", status, err)
	}
	if !bytes.Equal(in, out.Bytes()) {
		t.Errorf("%d bytes came back of %d, or others", out.Len(), len(in))
	}
}
