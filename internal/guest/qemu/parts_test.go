package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
)

// bzImage is a kernel image with the payload, as the kernel's build makes it.
func bzImage(payload []byte, size int) []byte {
	const sectors, offset = 2, 100
	out := make([]byte, (sectors+1)*512+offset)
	out[0x1f1] = sectors
	copy(out[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(out[0x206:], 0x20f)
	binary.LittleEndian.PutUint32(out[0x248:], offset)
	payload = binary.LittleEndian.AppendUint32(slices.Clone(payload), uint32(size))
	binary.LittleEndian.PutUint32(out[0x24c:], uint32(len(payload)))
	return append(append(out, payload...), make([]byte, 700)...)
}

func TestUncompressed(t *testing.T) {
	kernel := append([]byte("\x7fELF"), bytes.Repeat([]byte("kernel "), 10000)...)
	pack := map[string]func(w io.Writer) (io.WriteCloser, error){
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	}
	for name, newWriter := range pack {
		t.Run(name, func(t *testing.T) {
			var packed bytes.Buffer
			w, err := newWriter(&packed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(kernel); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "vmlinuz")
			writeFile(t, path, string(bzImage(packed.Bytes(), len(kernel))))
			got, err := Uncompressed(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(got); err != nil || !bytes.Equal(data, kernel) {
				t.Errorf("%s holds %d bytes, %v; want the kernel's %d", got, len(data), err, len(kernel))
			}

			cut := bzImage(packed.Bytes(), len(kernel))
			writeFile(t, path, string(cut[:len(cut)-700-packed.Len()/2]))
			if got, err := Uncompressed(dir, path); err == nil {
				t.Errorf("a damaged image gave %s and no error", got)
			}
		})
	}
}

func TestUncompressedLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	for name, image := range map[string][]byte{
		"vmlinux": []byte("\x7fELF and so on"),
		"lz4":     bzImage([]byte("\x02\x21\x4c\x18 and so on, for more than 16 bytes"), 100),
	} {
		path := filepath.Join(dir, name)
		writeFile(t, path, string(image))
		if got, err := Uncompressed(dir, path); err != nil || got != path {
			t.Errorf("%s: %s, %v; want it as it is", name, got, err)
		}
	}
}

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	init, module := filepath.Join(dir, "ipvslab"), filepath.Join(dir, "9p.ko")
	writeFile(t, init, "binary")
	writeFile(t, module, "module")
	path, err := makeInitramfs(dir, init, []string{module, init})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]string{}
	for r := cpio.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(data)
		if h.Mode.IsDir() {
			got[h.Name] = "d"
		}
	}
	want := map[string]string{
		"dev": "d", "proc": "d", "sys": "d", "run": "d", "root": "d", "modules": "d",
		"init": "binary", "modules/000-9p.ko": "module", "modules/001-ipvslab": "binary",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}

	if again, err := makeInitramfs(dir, init, []string{module, init}); err != nil || again != path {
		t.Errorf("the same again: %s, %v; want %s", again, err, path)
	}
	long := time.Now().Add(-2 * initramfsUnused)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	writeFile(t, init, "another binary")
	if other, err := makeInitramfs(dir, init, []string{module, init}); err != nil || other == path {
		t.Errorf("with another binary: %s, %v", other, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that was not used for long is still there: %v", err)
	}
}

func TestCommandLine(t *testing.T) {
	l := Launcher{Emulator: image.QEMUBinary{Path: "/q", Data: []string{"/d"}}, Machine: "microvm", Accel: TCG}
	spec := machine.Spec{Memory: 128 << 20, CPUs: 3, Writable: []string{"/a,b"}, KernelArgs: []string{"debug"}}
	got := strings.Join(l.commandLine(parts{"/k", "/i"}, spec), " ")
	for _, want := range []string{
		"/q -M microvm,rtc=on -smp 3 -m 128M", "-kernel /k -initrd /i", "-accel tcg,thread=multi -cpu max", "-L /d",
		"path=/,security_model=none,multidevs=remap,readonly=on", "path=/a,,b,security_model=none,multidevs=remap -device virtio-9p-device",
		"debug -- " + machine.Mark + " qemu", "socket,id=line,fd=3",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "kvm") || strings.Contains(got, "netdev") {
		t.Errorf("has what it must not have:\n%s", got)
	}
	l.Machine, l.Accel = "q35", KVM
	got = strings.Join(l.commandLine(parts{"/k", "/i"}, spec), " ")
	for _, want := range []string{"-M q35", "-accel kvm -cpu host", "virtio-9p-pci", "virtio-serial-pci"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	l.Machine, l.Accel = "virt", TCG // arm64's
	got = strings.Join(l.commandLine(parts{"/k", "/i"}, spec), " ")
	for _, want := range []string{"-cpu max,pauth-impdef=on", "console=ttyAMA0", "virtio-9p-pci"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}
