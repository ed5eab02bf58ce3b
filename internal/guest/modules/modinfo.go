package modules

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// modinfo is what a module says about itself in its section .modinfo, a list
// of key=value strings, each ended by a NUL.
type modinfo struct {
	depends []string // must be loaded before
	soft    []string // should be
	aliases []string // names by which the kernel asks for it; those for hardware are left out
}

// implied are dependencies that no module declares: libcrc32c asks the crypto
// layer for "crc32c" when it starts, and fails where nothing offers it.
var implied = map[string][]string{"libcrc32c": {"crc32c_generic"}}

func readModinfo(file string) (modinfo, error) {
	text, err := modinfoText(file)
	if err != nil {
		return modinfo{}, err
	}
	info := parseModinfo(text)
	if name, ok := moduleName(file); ok {
		info.soft = append(info.soft, implied[name]...)
	}
	return info, nil
}

// modinfoText is the section .modinfo of a module. Of a file that is not
// compressed nothing else is read.
func modinfoText(file string) ([]byte, error) {
	r, err := openModule(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module %s: no section .modinfo", file)
	}
	text, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	return text, nil
}

// image is a module's ELF image.
type image interface {
	io.ReaderAt
	io.Closer
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// openModule opens the module's ELF image, decompressed if need be.
func openModule(file string) (image, error) {
	if strings.HasSuffix(file, ".ko") {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read module: %w", err)
		}
		return f, nil
	}
	data, err := readModule(file)
	if err != nil {
		return nil, err
	}
	return inMemory{bytes.NewReader(data)}, nil
}

func parseModinfo(text []byte) modinfo {
	var info modinfo
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		key, value, _ := strings.Cut(string(entry), "=")
		switch key {
		case "depends":
			for dep := range strings.SplitSeq(value, ",") {
				if dep != "" {
					info.depends = append(info.depends, canonical(dep))
				}
			}
		case "alias":
			if !strings.ContainsAny(value, "*[?") { // patterns are for hardware
				info.aliases = append(info.aliases, canonical(value))
			}
		case "softdep":
			info.soft = append(info.soft, before(value)...)
		}
	}
	return info
}

// before is the "pre:" part of a soft dependency, as modprobe.d(5) has it.
// Names of aliases among it name no file and are passed over by Order.
func before(softdep string) []string {
	var names []string
	pre := false
	for word := range strings.FieldsSeq(softdep) {
		switch word {
		case "pre:":
			pre = true
		case "post:":
			pre = false
		default:
			if pre {
				names = append(names, canonical(word))
			}
		}
	}
	return names
}

// readModule is the module's ELF image, decompressed if need be.
func readModule(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	r, err := decompressor(file, data)
	if err != nil {
		return nil, fmt.Errorf("decompress module %s: %w", file, err)
	}
	if r == nil {
		return data, nil
	}
	if data, err = io.ReadAll(r); err != nil {
		return nil, fmt.Errorf("decompress module %s: %w", file, err)
	}
	return data, nil
}

// decompressor is nil for a file that is not compressed.
func decompressor(file string, data []byte) (io.Reader, error) {
	r := bytes.NewReader(data)
	switch {
	case strings.HasSuffix(file, ".xz"):
		return xz.NewReader(r, xz.DefaultDictMax)
	case strings.HasSuffix(file, ".zst"):
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	case strings.HasSuffix(file, ".gz"):
		return gzip.NewReader(r)
	default:
		return nil, nil
	}
}
