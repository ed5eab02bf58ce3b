package modules

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func TestOrder(t *testing.T) {
	dir := t.TempDir()
	module(t, dir, "net/ip_vs.ko", "depends=nf-conntrack,libcrc32c")
	module(t, dir, "net/nf_conntrack.ko.xz", "depends=", "softdep=pre: nf_log post: never")
	module(t, dir, "net/nf_log.ko.zst", "license=GPL")
	module(t, dir, "lib/libcrc32c.ko.gz", "depends=libcrc")
	module(t, dir, "crypto/crc32c_generic.ko")
	module(t, dir, "net/ip_vs_rr.ko", "depends=ip_vs")
	module(t, dir, "net/orphan.ko", "depends=nowhere")
	module(t, dir, "a/loop_a.ko", "softdep=pre: loop_b")
	module(t, dir, "a/loop-b.ko", "softdep=pre: loop_a")
	write(t, filepath.Join(dir, "modules.builtin"), []byte("kernel/lib/libcrc.ko\nkernel/net/af_packet.ko\n"))

	tests := []struct {
		name    string
		ask     []string
		files   []string
		missing []string
	}{
		{"nothing", nil, nil, nil},
		{
			"dependencies come first, the implied ones too",
			[]string{"ip_vs_rr"},
			[]string{"nf_log", "nf_conntrack", "crc32c_generic", "libcrc32c", "ip_vs", "ip_vs_rr"},
			nil,
		},
		{"each once", []string{"nf_log", "nf_conntrack", "nf-log"}, []string{"nf_log", "nf_conntrack"}, nil},
		{"built in needs no file", []string{"af_packet"}, nil, nil},
		{"absent is missing", []string{"twos", "nf_log"}, []string{"nf_log"}, []string{"twos"}},
		{"so is what lacks a dependency", []string{"orphan"}, nil, []string{"orphan"}},
		{"soft loops end", []string{"loop_a"}, []string{"loop_b", "loop_a"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			files, missing, err := d.Order(tt.ask...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.files, moduleNames(files)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.missing, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenRefusesWhatIsNoModulesDirectory(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/nonexistent"} {
		if _, err := Open(dir); err == nil {
			t.Errorf("Open(%s) gave no error", dir)
		}
	}
}

func TestMakeDecompressesOnceAndNoticesChange(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	module(t, dir, "kernel/a.ko.xz", "depends=b")
	module(t, dir, "kernel/b.ko")
	p, err := Make(cache, dir, []string{"a", "c"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b", "a"}, moduleNames(p.Files)); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	if image, err := os.ReadFile(p.Files[1]); err != nil || !bytes.HasPrefix(image, []byte("\x7fELF")) {
		t.Errorf("the copy of the compressed module: %v, begins with %.4q, want an ELF file", err, image)
	}

	// What is cached is not read again.
	if err := os.WriteFile(filepath.Join(dir, "kernel/a.ko.xz"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Make(cache, dir, []string{"a", "c"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, again); diff != "" {
		t.Errorf("plan from the cache (-want +got):\n%s", diff)
	}

	// A copy that is gone, and a directory that has changed, are noticed: now
	// the rubbish is read.
	if err := os.Remove(p.Files[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(cache, dir, []string{"a", "c"}); err == nil {
		t.Error("a plan whose file is gone was used")
	}
	module(t, dir, "kernel/a.ko.xz", "depends=")
	write(t, filepath.Join(dir, "modules.order"), []byte("kernel/a.ko\n"))
	if p, err = Make(cache, dir, []string{"a", "c"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a"}, moduleNames(p.Files)); diff != "" {
		t.Errorf("files after the change (-want +got):\n%s", diff)
	}
}

func TestMakeWithoutModules(t *testing.T) {
	p, err := Make(t.TempDir(), "", Required())
	if err != nil || len(p.Files) != 0 {
		t.Errorf("Make without a directory: %v, %v; want an empty plan", p, err)
	}
}

// module writes a module file: an ELF object with nothing but a .modinfo.
func module(t *testing.T, dir, name string, info ...string) {
	t.Helper()
	image := object(strings.Join(info, "\x00") + "\x00")
	var out bytes.Buffer
	var err error
	switch filepath.Ext(name) {
	case ".xz":
		w, e := xz.NewWriter(&out)
		if e != nil {
			t.Fatal(e)
		}
		_, err = w.Write(image)
		w.Close()
	case ".zst":
		w, e := zstd.NewWriter(&out)
		if e != nil {
			t.Fatal(e)
		}
		_, err = w.Write(image)
		w.Close()
	case ".gz":
		w := gzip.NewWriter(&out)
		_, err = w.Write(image)
		w.Close()
	default:
		out.Write(image)
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name), out.Bytes())
}

// object is a relocatable ELF file with the section .modinfo.
func object(modinfo string) []byte {
	return objectOf(section{".modinfo", elf.SHT_PROGBITS, 1, modinfo})
}

type section struct {
	name  string
	kind  elf.SectionType
	align uint64
	data  string
}

// objectOf is a relocatable ELF file with these sections, after the one that
// every file begins with, and .shstrtab.
func objectOf(sections ...section) []byte {
	sections = append(sections, section{".shstrtab", elf.SHT_STRTAB, 1, ""})
	last := &sections[len(sections)-1]
	headers := []elf.Section64{{}}
	last.data = "\x00"
	for _, s := range sections {
		headers = append(headers, elf.Section64{Name: uint32(len(last.data)), Type: uint32(s.kind), Addralign: s.align})
		last.data += s.name + "\x00"
	}
	head := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Ehsize: 64, Shentsize: 64, Shnum: uint16(len(headers)), Shstrndx: uint16(len(sections)),
	}
	out := make([]byte, 64)
	for i, s := range sections {
		out = pad(out, s.align)
		headers[i+1].Off, headers[i+1].Size = uint64(len(out)), uint64(len(s.data))
		out = append(out, s.data...)
	}
	head.Shoff = uint64(len(out))
	out, _ = binary.Append(out, binary.LittleEndian, headers)
	_, _ = binary.Encode(out, binary.LittleEndian, head)
	return out
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func moduleNames(files []string) []string {
	var out []string
	for _, f := range files {
		name, _ := moduleName(f)
		out = append(out, name)
	}
	return out
}
