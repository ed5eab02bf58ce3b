package modules

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"strings"
)

// signed is how a module with a signature ends (include/linux/module_signature.h).
const signed = "~Module signature appended~\n"

// strip leaves out what a debugger would need: three quarters of a module of
// Debian's user-mode Linux, which the kernel would read and throw away. The
// sections stay, empty, so that nothing has to be renumbered. What is signed, has none, or
// isn't understood comes back as it is.
func strip(module []byte) []byte {
	var head elf.Header64
	order := binary.LittleEndian
	if bytes.HasSuffix(module, []byte(signed)) || read(module, 0, &head) != nil {
		return module
	}
	sections := make([]elf.Section64, head.Shnum)
	if elf.Class(head.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(head.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB ||
		int(head.Shentsize) != binary.Size(elf.Section64{}) || int(head.Shstrndx) >= len(sections) || read(module, head.Shoff, sections) != nil {
		return module
	}
	names, ok := content(module, sections[head.Shstrndx])
	if !ok {
		return module
	}
	out := make([]byte, binary.Size(head))
	stripped := false
	for i := range sections {
		s := &sections[i]
		data, ok := content(module, *s)
		if !ok || uint64(s.Name) >= uint64(len(names)) {
			return module
		}
		name, _, _ := strings.Cut(string(names[s.Name:]), "\x00")
		if strings.Contains(name, ".debug_") { // and the relocations of such
			*s = elf.Section64{Name: s.Name}
			stripped = true
			continue
		}
		out = pad(out, s.Addralign)
		s.Off = uint64(len(out))
		out = append(out, data...)
	}
	if !stripped {
		return module
	}
	out = pad(out, 8)
	head.Shoff = uint64(len(out))
	out, _ = binary.Append(out, order, sections) // of fixed size: it can't fail
	_, _ = binary.Encode(out, order, head)
	return out
}

// read decodes what is at the offset.
func read(module []byte, offset uint64, into any) error {
	if offset > uint64(len(module)) {
		return io.ErrUnexpectedEOF
	}
	_, err := binary.Decode(module[offset:], binary.LittleEndian, into)
	return err
}

// content is what the file has of a section.
func content(module []byte, s elf.Section64) ([]byte, bool) {
	if t := elf.SectionType(s.Type); t == elf.SHT_NULL || t == elf.SHT_NOBITS {
		return nil, true
	}
	size := uint64(len(module))
	if s.Off > size || s.Size > size-s.Off {
		return nil, false
	}
	return module[s.Off : s.Off+s.Size], true
}

// pad adds bytes up to a multiple of align.
func pad(b []byte, align uint64) []byte {
	for align > 1 && align <= 4096 && uint64(len(b))%align != 0 {
		b = append(b, 0)
	}
	return b
}
