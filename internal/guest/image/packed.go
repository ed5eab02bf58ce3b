package image

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// ErrPacking says that something is not packed in a way known here.
var ErrPacking = errors.New("no payload that can be uncompressed")

// Uncompressor picks by the stream's magic number, as the kernel's
// scripts/extract-vmlinux does. The kernel's xz streams have the x86 filter.
func Uncompressor(data []byte) (io.Reader, error) {
	r := bytes.NewReader(data)
	switch {
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		return xz.NewReader(r, xz.DefaultDictMax)
	case bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(r, zstd.WithDecoderMaxWindow(1<<31))
	case bytes.HasPrefix(data, gzipMagic):
		return gzip.NewReader(r)
	case bytes.HasPrefix(data, []byte("BZh")):
		return bzip2.NewReader(r), nil
	default:
		return nil, ErrPacking // lz4, lzo, lzma: old kernels
	}
}

var gzipMagic = []byte{0x1f, 0x8b}

// isArmImage recognises arm64's Image by its header; the kernel's
// Documentation/arch/arm64/booting.rst.
func isArmImage(head []byte) bool { return len(head) > 0x40 && string(head[0x38:0x3c]) == "ARM\x64" }

// isPackedArm recognises what UnpackArm unpacks: an Image in a gzip file, as
// Ubuntu installs it, or in a program for EFI (CONFIG_EFI_ZBOOT).
func isPackedArm(head []byte) bool { return bytes.HasPrefix(head, gzipMagic) || isZboot(head) }

// isZboot looks for the magic of drivers/firmware/efi/libstub/zboot-header.S.
func isZboot(head []byte) bool {
	return len(head) > 0x40 && string(head[:2]) == "MZ" && string(head[4:8]) == "zimg"
}

// UnpackArm is the Image in a packed arm64 kernel. For other data it is ErrPacking.
func UnpackArm(data []byte) ([]byte, error) {
	if !isPackedArm(data) {
		return nil, ErrPacking
	}
	if isZboot(data) {
		start, size := uint64(binary.LittleEndian.Uint32(data[8:])), uint64(binary.LittleEndian.Uint32(data[12:]))
		if start+size > uint64(len(data)) {
			return nil, fmt.Errorf("its payload lies outside of it (%d bytes from %d on, of %d): it is damaged", size, start, len(data))
		}
		data = data[start : start+size]
	}
	r, err := Uncompressor(data)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if !isArmImage(out) {
		return nil, fmt.Errorf("it holds no arm64 Image: %w", ErrPacking)
	}
	return out, nil
}
