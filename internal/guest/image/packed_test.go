package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// armImage is the head of an arm64 Image, and its banner.
func armImage() []byte {
	out := make([]byte, 4096)
	copy(out, "MZ")
	copy(out[0x38:], "ARM\x64")
	copy(out[2000:], "Linux version 6.8.0-1-generic (a@b)\x00")
	return out
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zboot is a program for EFI with the payload, and what the linker puts behind it.
func zboot(payload []byte) []byte {
	out := make([]byte, 512)
	copy(out, "MZ\x00\x00zimg")
	binary.LittleEndian.PutUint32(out[8:], uint32(len(out)))
	binary.LittleEndian.PutUint32(out[12:], uint32(len(payload)))
	return append(append(out, payload...), "\x00\x10\x00\x00behind"...)
}

func TestUnpackArm(t *testing.T) {
	packer, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zipped := gzipped(t, armImage())
	for name, packed := range map[string][]byte{
		"gzip": zipped, "EFI, gzip": zboot(zipped), "EFI, zstd": zboot(packer.EncodeAll(armImage(), nil)),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := UnpackArm(packed); err != nil || !bytes.Equal(got, armImage()) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if got, err := UnpackArm(packed[:len(packed)-30]); err == nil {
				t.Errorf("a damaged one gave %d bytes and no error", len(got))
			}
		})
	}
	for name, other := range map[string][]byte{"Image": armImage(), "gzip": gzipped(t, []byte("a text")), "lz4": zboot([]byte("\x02\x21\x4c\x18"))} {
		if _, err := UnpackArm(other); !errors.Is(err, ErrPacking) {
			t.Errorf("%s: %v, want ErrPacking", name, err)
		}
	}
}

// TestFindArm: each form of an arm64 kernel is known, and refused elsewhere.
func TestFindArm(t *testing.T) {
	dir := t.TempDir()
	for name, kernel := range map[string][]byte{
		"Image": armImage(), "Image.gz": gzipped(t, armImage()), "vmlinuz.efi": zboot(gzipped(t, armImage())),
	} {
		put(t, filepath.Join(dir, name), string(kernel), 0o644)
		ks, err := Find(t.Context(), Want{Path: filepath.Join(dir, name), Root: dir})
		if runtime.GOARCH != "arm64" {
			if err == nil || !strings.Contains(err.Error(), "it is for arm64") {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
			continue
		}
		if err != nil || ks[0].Release != "6.8.0-1-generic" || ks[0].Launcher != QEMU {
			t.Errorf("%s: %v, %v", name, ks, err)
		}
	}
}
