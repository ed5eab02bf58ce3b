package guest_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/creack/pty"

	"github.com/ipvslab/ipvslab/internal/guest"
)

// cliEnv makes this binary a command that runs $cliEnv in a guest, as the real one would.
const cliEnv = "GUEST_TEST_SCRIPT"

func cli() {
	kernel, modules, err := findKernel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if k := os.Getenv("GUEST_TEST_KERNEL"); k != "" {
		kernel = k
	}
	o := guest.Options{
		Kernel: kernel, ModulesDir: modules, Modules: []string{"overlay"}, Memory: 128 << 20,
		KernelArgs:   []string{os.Getenv("GUEST_TEST_MARKER")},
		NoNamespaces: os.Getenv("GUEST_TEST_PLAIN") != "",
	}
	cmd := guest.Command{Argv: []string{"sh", "-c", os.Getenv(cliEnv)}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	status, err := guest.Run(context.Background(), o, cmd)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// command is this binary as a command.
func command(t *testing.T, mark, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir = options(t).Dir // skips if there is no kernel
	cmd.Env = append(os.Environ(), cliEnv+"="+script, "GUEST_TEST_MARKER="+mark)
	return cmd
}

func marker() string { return fmt.Sprintf("guesttest=%x", rand.Uint64()) }

// withMarker lists the processes on this host that have the marker in their arguments.
func withMarker(t *testing.T, mark string) (found []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		b, err := os.ReadFile(d + "/cmdline")
		if err == nil && bytes.Contains(b, []byte(mark)) {
			found = append(found, filepath.Base(d)+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

// nothingLeft waits until no process with the marker is left.
func nothingLeft(t *testing.T, mark string) {
	t.Helper()
	gomega.NewWithT(t).Eventually(func() []string { return withMarker(t, mark) }).
		WithTimeout(30 * time.Second).WithPolling(10 * time.Millisecond).Should(gomega.BeEmpty())
}

func TestSignals(t *testing.T) {
	mark := marker()
	cmd := command(t, mark, "trap 'echo got; exit 3' INT; echo ready; while :; do sleep 0.05; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for _, want := range []string{"ready\n", "got\n"} {
		if line, err := r.ReadString('\n'); line != want {
			t.Errorf("got %q, %v; want %q", line, err, want)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Error(err)
	}
	nothingLeft(t, mark)
}

func TestTerminal(t *testing.T) {
	cmd := command(t, "", "stty size; read x; echo key $x; until stty size | grep -q '33 44'; do sleep 0.02; done; echo resized; exec cat")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 11, Cols: 22})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	r := bufio.NewReader(tty)
	want := func(want string) {
		t.Helper()
		if line, err := r.ReadString('\n'); strings.TrimSpace(line) != want {
			t.Errorf("got %q, %v; want %q", line, err, want)
		}
	}
	want("11 22")
	io.WriteString(tty, "a\n")
	want("a")
	want("key a")
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 33, Cols: 44}); err != nil {
		t.Fatal(err)
	}
	want("resized")
	io.WriteString(tty, "b\n") // echoed twice: so cat runs when Ctrl-C comes
	want("b")
	want("b")
	io.WriteString(tty, "\x03")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Error(err)
	}
}

// TestInterruptedBoot: Ctrl-C ends a boot that hangs.
func TestInterruptedBoot(t *testing.T) {
	mark := marker()
	cmd := command(t, mark, "true")
	kernel := filepath.Join(cmd.Dir, "kernel")
	if err := os.WriteFile(kernel, []byte("#!/bin/sh\necho no more\nwhile :; do sleep 1; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "GUEST_TEST_KERNEL="+kernel)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gomega.NewWithT(t).Eventually(func() int { return len(withMarker(t, mark)) }).
		WithTimeout(30 * time.Second).WithPolling(10 * time.Millisecond).Should(gomega.BeNumerically(">=", 2))
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Error(err)
	}
	nothingLeft(t, mark)
}

// TestOddExecutable: a name that the kernel's command line cannot hold, in a
// place that only its owner can enter, still becomes pid 1.
func TestOddExecutable(t *testing.T) {
	cmd := command(t, "", "echo fine")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = filepath.Join(t.TempDir(), "ipvs lab")
	if err := os.WriteFile(cmd.Path, b, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"", "GUEST_TEST_PLAIN=1"} {
		again := exec.Command(cmd.Path)
		again.Dir, again.Env = cmd.Dir, slices.Concat(cmd.Env, []string{env, publicImage(t)})
		if out, err := again.CombinedOutput(); err != nil || string(out) != "fine\n" {
			t.Errorf("%s: %v, %s", env, err, out)
		}
	}
}

// TestKilledAtRandom: whenever this side is killed, no process is left.
func TestKilledAtRandom(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	image := publicImage(t)
	for i := range rounds {
		mark := marker()
		cmd := command(t, mark, "while :; do sleep 0.01; done")
		if i%2 == 1 {
			cmd.Env = append(cmd.Env, "GUEST_TEST_PLAIN=1", image)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.IntN(700)) * time.Millisecond
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("killed after %v: %v", after, err)
		}
		nothingLeft(t, mark)
	}
	ownRuntimeDir(t)
	if _, _, err := guest.List(); err != nil { // as any later command would
		t.Error(err)
	}
	if left, err := filepath.Glob("/dev/shm/ipvslab-guest-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// publicImage copies the kernel to where everybody can read it, and returns the
// environment that leads there.
func publicImage(t *testing.T) string {
	t.Helper()
	o := options(t)
	dir, err := os.MkdirTemp("/var/tmp", "guest-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.Kernel)
	if err == nil {
		err = os.WriteFile(dir+"/linux.uml", b, 0o755)
	}
	if err == nil {
		err = os.CopyFS(dir+"/modules", os.DirFS(o.ModulesDir))
	}
	if err != nil {
		t.Fatal(err)
	}
	return imageEnv + "=" + dir + "/linux.uml:" + dir + "/modules"
}

// TestOrdinaryUser runs the tests of this binary once more, as a user that is nobody in particular.
func TestOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the tests have run as an ordinary user already")
	}
	image := publicImage(t) // skips if there is no kernel
	dir, err := os.MkdirTemp("/var/tmp", "guest-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary, tmp := dir+"/guest.test", dir+"/tmp"
	if err := os.WriteFile(binary, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, tmp} {
		if err := os.Chown(path, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, "-test.v", "-test.skip", "TestKilledAtRandom")
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+tmp, "XDG_CACHE_HOME=", image)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestStatusAndStreams")) {
		t.Errorf("as uid 1000: %v\n%s", err, out)
	}
}
