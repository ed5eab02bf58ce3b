package image

import (
	"debug/elf"
	"encoding/binary"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindPrefers(t *testing.T) {
	cache, root := t.TempDir(), t.TempDir()
	for tree, releases := range map[string][]string{
		filepath.Join(cache, "kernels/one"):    {"6.1.0-9-amd64", "6.1.0-10-rt-amd64"},
		filepath.Join(cache, "kernels/two"):    {"6.1.0-10-amd64"},
		filepath.Join(cache, "kernels/.fetch"): {"9.9.9"},
		root:                                   {"6.12.1-amd64", "6.13.1-cloud-amd64"},
	} {
		for _, r := range releases {
			put(t, filepath.Join(tree, "boot/vmlinuz-"+r), "", 0o644)
			if !strings.Contains(r, "cloud") {
				put(t, filepath.Join(tree, "lib/modules", r, "kernel/net/9p/9pnet_virtio.ko.xz"), "", 0o644)
			}
			put(t, filepath.Join(tree, "lib/modules", r, "modules.builtin"), "", 0o644)
		}
	}
	put(t, filepath.Join(root, "boot/vmlinuz-7.0-bare"), "", 0o644)
	ks, err := Find(t.Context(), Want{Cache: cache, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range ks {
		got = append(got, k.Origin+" "+k.Release+" "+strings.Split(k.Unfit, ",")[0])
	}
	want := []string{
		"cache 6.1.0-10-amd64 ", "cache 6.1.0-9-amd64 ", "cache 6.1.0-10-rt-amd64 ",
		"installed 6.12.1-amd64 ",
		"installed 7.0-bare its modules are not installed", "installed 6.13.1-cloud-amd64 built without 9p over virtio",
	}
	slices.Sort(got[4:])
	slices.Sort(want[4:])
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kernels (-want +got):\n%s", diff)
	}
	if n := len(Usable(ks)); n != 4 {
		t.Errorf("%d are usable, want 4", n)
	}
}

// TestFindBuilt: a kernel that was built here is known, but comes after all others.
func TestFindBuilt(t *testing.T) {
	if !UMLPossible() {
		t.Skip("user-mode Linux is for x86-64 only")
	}
	cache, root := t.TempDir(), t.TempDir()
	put(t, filepath.Join(cache, "built/linux-uml-9.9/linux.uml"), program(0x60000000)+"Linux version 9.9.1 (me@here)\x00", 0o755)
	put(t, filepath.Join(cache, "built/.work-linux-source-9.9/linux.uml"), "half", 0o755)
	put(t, filepath.Join(root, "usr/bin/linux.uml"), "", 0o755)
	put(t, filepath.Join(root, "usr/lib/uml/modules/6.1.1/modules.builtin"), "", 0o644)
	for launcher, want := range map[string][]string{"": {"installed 6.1.1", "built 9.9.1"}, QEMU: nil} {
		ks, err := Find(t.Context(), Want{Cache: cache, Root: root, Launcher: launcher})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range Usable(ks) {
			got = append(got, k.Origin+" "+k.Release)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("kernels for %q (-want +got):\n%s", launcher, diff)
		}
	}
}

func TestCompareReleases(t *testing.T) {
	ordered := []string{"5.10.0-9-amd64", "5.10.0-30-amd64", "6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.176", "6.12.1"}
	for i := range len(ordered) - 1 {
		if compareReleases(ordered[i], ordered[i+1]) >= 0 {
			t.Errorf("%s is not before %s", ordered[i], ordered[i+1])
		}
	}
}

func TestFindPath(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("these are x86-64's kernels; TestFindArm has arm64's")
	}
	dir := t.TempDir()
	bz := make([]byte, 0x400)
	copy(bz[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(bz[0x20e:], 0x100)
	copy(bz[0x300:], "6.9.1-mine (me@here) #1 SMP\x00")
	put(t, filepath.Join(dir, "bzImage"), string(bz), 0o644)
	put(t, filepath.Join(dir, "modules/6.9.1-mine/modules.builtin"), "", 0o644)
	text := strings.Repeat("\x00", 1<<20-20) + "Linux version %s (%s)\x00Linux version 6.7.8+ (me@here)\x00"
	put(t, filepath.Join(dir, "linux.uml"), program(0x60000000)+text, 0o755)
	put(t, filepath.Join(dir, "vmlinux"), program(0xffffffff81000000)+text, 0o755)
	put(t, filepath.Join(dir, "elsewhere/kernel/a.ko"), "", 0o644)

	tests := []struct {
		path, launcher, modules string // asked for
		want                    Kernel
		err                     string
	}{
		{path: "bzImage", want: Kernel{Launcher: QEMU, Release: "6.9.1-mine", Modules: "modules/6.9.1-mine"}},
		{path: "linux.uml", want: Kernel{Launcher: UML, Release: "6.7.8+"}},
		{path: "vmlinux", modules: "elsewhere", want: Kernel{Launcher: QEMU, Release: "6.7.8+", Modules: "elsewhere"}},
		{path: "vmlinux", modules: "nowhere", err: ModulesEnv},
		{path: "vmlinux", launcher: UML, err: "for qemu, not for uml"},
		{path: "nothing", err: "no such file"},
		{path: "modules/6.9.1-mine/modules.builtin", err: "neither an ELF file nor a bzImage"},
	}
	for _, tt := range tests {
		t.Run(tt.path+" "+tt.modules+tt.launcher, func(t *testing.T) {
			if tt.modules != "" {
				t.Setenv(ModulesEnv, filepath.Join(dir, tt.modules))
			}
			ks, err := Find(t.Context(), Want{Path: filepath.Join(dir, tt.path), Launcher: tt.launcher, Root: t.TempDir()})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Path, tt.want.Origin = filepath.Join(dir, tt.path), "path"
			if tt.want.Modules != "" {
				tt.want.Modules = filepath.Join(dir, tt.want.Modules)
			}
			if diff := cmp.Diff([]Kernel{tt.want}, ks); diff != "" {
				t.Errorf("kernel (-want +got):\n%s", diff)
			}
		})
	}
}

// program is the head of an ELF file with one segment at the address.
func program(address uint64) string {
	out := make([]byte, 64+56)
	copy(out, "\x7fELF\x02\x01\x01")
	put := binary.LittleEndian
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	put.PutUint16(out[16:], uint16(elf.ET_EXEC))
	put.PutUint16(out[18:], uint16(machine))
	put.PutUint32(out[20:], 1)
	put.PutUint64(out[32:], 64) // program headers
	put.PutUint16(out[52:], 64)
	put.PutUint16(out[54:], 56)
	put.PutUint16(out[56:], 1)
	put.PutUint32(out[64:], uint32(elf.PT_LOAD))
	put.PutUint64(out[64+16:], address)
	return string(out)
}

func TestCacheDirFollowsXDG(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/somewhere")
	if dir, err := CacheDir(); err != nil || dir != "/somewhere/ipvslab" {
		t.Errorf("CacheDir: %s, %v", dir, err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := CacheDir(); err == nil || !strings.Contains(err.Error(), "XDG_CACHE_HOME") {
		t.Errorf("without a home: %v, want what to set", err)
	}
}
