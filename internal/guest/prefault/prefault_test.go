package prefault_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// part is a mapping of the program.
type part struct {
	rights         string // as in "r-xp"
	size, resident int    // KiB
}

// parts runs a program that prints its map, and picks what is its own file's, and the heap.
func parts(t *testing.T, program string, env ...string) (file []part, heap part) {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var object uint64
	fmt.Sscan(string(out), &object)
	var current *part
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case strings.Contains(fields[0], "-"):
			var start, end uint64
			fmt.Sscanf(fields[0], "%x-%x", &start, &end)
			current = &part{}
			if start <= object && object < end {
				current = &heap
			} else if fields[len(fields)-1] == program {
				file = append(file, part{})
				current = &file[len(file)-1]
			}
			current.rights = fields[1]
		case fields[0] == "Size:":
			fmt.Sscan(fields[1], &current.size)
		case fields[0] == "Rss:":
			fmt.Sscan(fields[1], &current.resident)
		}
	}
	return file, heap
}

// TestMapped: as if in user-mode Linux, all of the program's file and the
// heap's beginning are in memory when main begins, with the rights that they have
// otherwise.
func TestMapped(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("user-mode Linux is for x86-64")
	}
	for name, flags := range map[string]string{
		"entered":     "-E=github.com/ipvslab/ipvslab/internal/guest/prefault.entry",
		"initialised": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(t.TempDir(), "program")
			build := exec.Command("go", "build", "-ldflags="+flags, "-o", program, "./testdata/program")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			lazy, _ := parts(t, program, "IPVSLAB_GUEST=umlaut")
			mapped, heap := parts(t, program, "A=", "IPVSLAB_GUEST=uml", "IPVSLAB_LAB=x")
			if len(lazy) != 3 || len(mapped) != 3 {
				t.Fatalf("parts of the file: %v, %v, want code, constants and variables", lazy, mapped)
			}
			for i, p := range mapped {
				if p.rights != lazy[i].rights || p.resident != p.size {
					t.Errorf("%+v mapped, %+v otherwise", p, lazy[i])
				}
			}
			if lazy[1].resident == lazy[1].size {
				t.Errorf("constants %+v are mapped in any case: the test shows nothing", lazy[1])
			}
			if heap.rights != "rw-p" || heap.resident < 4096 {
				t.Errorf("heap %+v, want 4 MiB mapped", heap)
			}
		})
	}
}
