package qemu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ipvslab/ipvslab/internal/guest/image"
)

// Uncompressed is the kernel's vmlinux, or arm64's Image: path itself, or what
// a bzImage or a packed Image holds, kept in the cache. Uncompressing it once
// here spares every boot from doing so in emulation, 0.4 to 3 s. An image in a
// format not known here is returned as it is.
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
	if errors.Is(err, image.ErrPacking) {
		kernel, err = image.UnpackArm(data)
	}
	if errors.Is(err, image.ErrPacking) {
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
func payload(bz []byte) ([]byte, error) {
	if len(bz) < 0x250 || string(bz[0x202:0x206]) != "HdrS" || binary.LittleEndian.Uint16(bz[0x206:]) < 0x208 {
		return nil, image.ErrPacking
	}
	sectors := int64(bz[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + int64(binary.LittleEndian.Uint32(bz[0x248:]))
	end := start + int64(binary.LittleEndian.Uint32(bz[0x24c:]))
	if end > int64(len(bz)) || end-start < 16 {
		return nil, fmt.Errorf("its payload lies outside of it (%d to %d of %d): it is damaged", start, end, len(bz))
	}
	// Behind every format lies the uncompressed size; gzip has it in its own trailer.
	compressed, size := bz[start:end], binary.LittleEndian.Uint32(bz[end-4:])
	r, err := image.Uncompressor(compressed)
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(out, []byte(elf.ELFMAG)) {
		return nil, image.ErrPacking
	}
	return out, nil
}
