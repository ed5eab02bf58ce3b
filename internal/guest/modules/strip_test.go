package modules

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// contents are a file's sections in order, name and data.
func contents(t *testing.T, file []byte) [][2]string {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var out [][2]string
	for _, s := range f.Sections[1:] {
		data, err := s.Data()
		if err != nil || s.Addralign > 1 && s.Offset%s.Addralign != 0 {
			t.Fatalf("section %s: %v, %d bytes into the file", s.Name, err, s.Offset)
		}
		out = append(out, [2]string{s.Name, string(data)})
	}
	return out
}

func TestStrip(t *testing.T) {
	text := section{".text", elf.SHT_PROGBITS, 16, "code"}
	info := section{".modinfo", elf.SHT_PROGBITS, 1, "depends=\x00"}
	debug := section{".debug_info", elf.SHT_PROGBITS, 1, "for a debugger"}
	relocations := section{".rel.debug_info", elf.SHT_REL, 8, "more of it"}
	symbols := section{".symtab", elf.SHT_SYMTAB, 8, "symbols"}
	whole := objectOf(text, debug, relocations, info, symbols)
	want := contents(t, whole)
	want[1][1], want[2][1] = "", ""
	got := strip(bytes.Clone(whole))
	if diff := cmp.Diff(want, contents(t, got)); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	if len(got) >= len(whole) {
		t.Errorf("%d bytes of %d", len(got), len(whole))
	}

	for name, module := range map[string][]byte{
		"stripped":       objectOf(text, info, symbols),
		"stripped by us": got,
		"signed":         append(bytes.Clone(whole), signed...),
		"cut short":      whole[:len(whole)-1],
		"of 32 bits":     append([]byte("\x7fELF\x01"), whole[5:]...),
		"no ELF":         []byte("rubbish"),
		"empty":          nil,
	} {
		if got := strip(bytes.Clone(module)); !bytes.Equal(got, module) {
			t.Errorf("%s: changed", name)
		}
	}
}

// TestMakeStrips: what a guest loads is the copy, if there was something to leave out.
func TestMakeStrips(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	module(t, dir, "plain.ko")
	info := section{".modinfo", elf.SHT_PROGBITS, 1, "depends=plain\x00"}
	whole := objectOf(info, section{".debug_str", elf.SHT_PROGBITS, 1, "names"})
	write(t, filepath.Join(dir, "large.ko"), whole)
	p, err := Make(cache, dir, []string{"large"})
	if err != nil || len(p.Files) != 2 || p.Files[0] != filepath.Join(dir, "plain.ko") {
		t.Fatalf("%+v, %v", p, err)
	}
	if got, err := os.ReadFile(p.Files[1]); err != nil || !bytes.Equal(got, strip(whole)) {
		t.Errorf("%s, %v: %d bytes, want %d", p.Files[1], err, len(got), len(strip(whole)))
	}
}

func FuzzStrip(f *testing.F) {
	f.Add(objectOf(section{".debug_str", elf.SHT_PROGBITS, 4, "names"}))
	f.Fuzz(func(_ *testing.T, module []byte) { strip(module) })
}
