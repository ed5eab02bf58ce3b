package qemu

import (
	"bytes"
	"compress/bzip2"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// errNoPayload says that a kernel image is none that can be taken apart; QEMU
// boots it as it is.
var errNoPayload = errors.New("no payload that can be uncompressed")

// Uncompressed is the kernel's vmlinux: path itself, or what a bzImage holds,
// kept in the cache. Uncompressing it once here spares every boot from doing so
// in emulation, 0.4 to 3 s. An image in a format not known here is returned
// as it is.
func Uncompressed(cache, path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read kernel: %w", err)
	}
	kept := filepath.Join(cache, "vmlinux", fileKey(path, st))
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read kernel: %w", err)
	}
	kernel, err := payload(data)
	if errors.Is(err, errNoPayload) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("uncompress kernel %s: %w", path, err)
	}
	if err := keep(kept, func(w io.Writer) error { _, err := w.Write(kernel); return err }); err != nil {
		return "", fmt.Errorf("keep uncompressed kernel: %w", err)
	}
	return kept, nil
}

// payload uncompresses what a bzImage holds: protocol 2.08 of the kernel's
// Documentation/arch/x86/boot.rst gives its place.
func payload(image []byte) ([]byte, error) {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" || binary.LittleEndian.Uint16(image[0x206:]) < 0x208 {
		return nil, errNoPayload
	}
	sectors := int64(image[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + int64(binary.LittleEndian.Uint32(image[0x248:]))
	end := start + int64(binary.LittleEndian.Uint32(image[0x24c:]))
	if end > int64(len(image)) || end-start < 16 {
		return nil, fmt.Errorf("its payload lies outside of it (%d to %d of %d): it is damaged", start, end, len(image))
	}
	// Behind every format lies the uncompressed size; gzip has it in its own trailer.
	compressed, size := image[start:end], binary.LittleEndian.Uint32(image[end-4:])
	r, err := uncompressor(compressed)
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(out, []byte(elf.ELFMAG)) {
		return nil, errNoPayload
	}
	return out, nil
}

// uncompressor picks by the stream's magic number, as the kernel's
// scripts/extract-vmlinux does. The kernel's xz streams have the x86 filter.
func uncompressor(data []byte) (io.Reader, error) {
	r := bytes.NewReader(data)
	switch {
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		return xz.NewReader(r, xz.DefaultDictMax)
	case bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(r, zstd.WithDecoderMaxWindow(1<<31))
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(data, []byte("BZh")):
		return bzip2.NewReader(r), nil
	default:
		return nil, errNoPayload // lz4, lzo, lzma: old kernels
	}
}
