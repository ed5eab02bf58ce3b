package ipvsadm_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
)

var (
	seed      = flag.Uint64("seed", 1, "of the generated command sequences")
	generated = flag.Int("generated", 40, "how many command sequences to generate")
)

// TestDifferential runs command sequences through the real ipvsadm and through
// Run, each in a network namespace of its own, and compares what they say and
// what the kernel shows afterwards.
func TestDifferential(t *testing.T) {
	needReal(t)
	files, err := filepath.Glob("testdata/diff/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sequences: %v", err)
	}
	var all []sequence
	for _, f := range files {
		all = append(all, readSequences(t, f)...)
	}
	hand := len(all)
	all = append(all, sequences(*seed, *generated)...)
	commands := 0
	for _, s := range all {
		commands += len(s.lines)
		t.Run(s.name, func(t *testing.T) {
			want, wantTable := play(t, s, real)
			got, gotTable := play(t, s, ours)
			for i := range s.lines {
				if d := cmp.Diff(want[i], got[i]); d != "" {
					t.Errorf("command %d: %s\nstdin: %q\n(-real +ours):\n%s", i+1, s.lines[i], s.lines[i].stdin, d)
				}
			}
			if d := cmp.Diff(wantTable, gotTable); d != "" {
				t.Errorf("/proc/net/ip_vs (-real +ours):\n%s", d)
			}
		})
	}
	t.Logf("%d sequences by hand, %d generated, %d commands", hand, len(all)-hand, commands)
}

// outcome is what a command line leaves behind.
type outcome struct {
	Stdout, Stderr string
	Status         int
}

// runner carries out a command line in the calling thread's namespace.
type runner func(t *testing.T, table *ipvs.Table, c commandLine) outcome

func real(t *testing.T, _ *ipvs.Table, c commandLine) outcome {
	var stdout, stderr bytes.Buffer
	path, err := exec.LookPath(c.argv[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Cmd{
		Path: path, Args: c.argv, Env: append(os.Environ(), "LC_ALL=C"),
		Stdin: strings.NewReader(c.stdin), Stdout: &stdout, Stderr: &stderr,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func ours(t *testing.T, table *ipvs.Table, c commandLine) outcome {
	var stdout, stderr bytes.Buffer
	env := ipvsadm.Env{
		Table: table,
		Stdin: strings.NewReader(c.stdin), Stdout: &stdout, Stderr: &stderr,
	}
	run := map[string]func(context.Context, ipvsadm.Env, []string) int{
		"ipvsadm": ipvsadm.Run, "ipvsadm-save": ipvsadm.RunSave, "ipvsadm-restore": ipvsadm.RunRestore,
	}[c.argv[0]]
	status := run(t.Context(), env, c.argv)
	return outcome{stdout.String(), stderr.String(), status}
}

// play runs a sequence in a fresh namespace and reads the table from /proc.
func play(t *testing.T, s sequence, run runner) (out []outcome, table []string) {
	t.Helper()
	inNamespace(t, func() error {
		tab, err := ipvs.Open(t.Context(), "")
		if err != nil {
			return err
		}
		defer tab.Close()
		for _, c := range s.lines {
			out = append(out, run(t, tab, c))
		}
		file, err := os.Open("/proc/thread-self/net/ip_vs")
		if err != nil {
			return err
		}
		defer file.Close()
		services, _, err := lb.ParseProcTable(file)
		for _, s := range services {
			table = append(table, fmt.Sprintf("%+v", s))
		}
		return err
	})
	slices.Sort(table) // the kernel's order hangs on the namespace
	return out, table
}

// inNamespace runs fn on a thread with a fresh network namespace, lo up. The
// thread dies with the goroutine.
func inNamespace(t *testing.T, fn func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := errors.New("test ended within the namespace")
		defer func() { done <- err }()
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		lo, e := netlink.LinkByName("lo")
		if e == nil {
			e = netlink.LinkSetUp(lo)
		}
		if err = e; err == nil {
			err = fn()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// needReal skips where the comparison is proven to be impossible: not root, no
// IPVS in this kernel, or no ipvsadm 1.31. Where they are required, it fails.
func needReal(t *testing.T) {
	t.Helper()
	probetest.Features(t, probe.NetAdmin, probe.IPVS)
	probetest.Ipvsadm(t)
	out, err := exec.Command("ipvsadm", "-v").CombinedOutput()
	if err != nil {
		t.Fatalf("ipvsadm -v: %v: %s", err, out)
	}
	if !strings.HasPrefix(string(out), "ipvsadm v1.31 ") {
		refuse := t.Skip
		if os.Getenv("IPVSLAB_REQUIRE_IPVSADM") == "1" {
			refuse = t.Fatal
		}
		refuse("not the release that is compared with: " + string(out))
	}
}
