package modules

import (
	"bytes"
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

// object is a relocatable ELF file with the sections .modinfo and .shstrtab.
func object(modinfo string) []byte {
	const header, section = 64, 64
	names := "\x00.modinfo\x00.shstrtab\x00"
	put := binary.LittleEndian
	out := make([]byte, header)
	copy(out, "\x7fELF\x02\x01\x01")
	put.PutUint16(out[16:], 1)  // relocatable
	put.PutUint16(out[18:], 62) // x86-64
	put.PutUint32(out[20:], 1)
	put.PutUint64(out[40:], uint64(header+len(modinfo)+len(names)))
	put.PutUint16(out[52:], header)
	put.PutUint16(out[58:], section)
	put.PutUint16(out[60:], 3)
	put.PutUint16(out[62:], 2)
	out = append(out, modinfo+names...)
	for _, s := range []struct{ name, kind, offset, size int }{
		{}, {1, 1, header, len(modinfo)}, {10, 3, header + len(modinfo), len(names)},
	} {
		h := make([]byte, section)
		put.PutUint32(h[0:], uint32(s.name))
		put.PutUint32(h[4:], uint32(s.kind))
		put.PutUint64(h[24:], uint64(s.offset))
		put.PutUint64(h[32:], uint64(s.size))
		out = append(out, h...)
	}
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
