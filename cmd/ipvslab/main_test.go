package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/internal/guest/choose"
	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this binary the command, when it is called by its name, or
// what the command starts itself as.
func TestMain(m *testing.M) {
	guest.Hook()
	lab.Hook()
	commands := map[string]func(){"ipvslab": main, "ipvslab-without-ptrace": withoutPtrace}
	for name := range programs {
		commands[name] = main
	}
	testscript.Main(m, commands)
}

// hostCache is where this user's kernels are, whatever HOME a test sets.
var hostCache, _ = os.UserCacheDir()

// place is where a test runs the command: a binary, a working directory and a
// runtime directory of its own. What the command leaves behind shows by their paths.
type place struct {
	t    testing.TB
	root string // short, as a socket's path has 107 bytes
	dir  string // the working directory
	env  []string
	uid  int // who runs the command
}

// newPlace makes a place that must be clean again at the end of the test.
func newPlace(t testing.TB) *place {
	t.Helper()
	root, err := os.MkdirTemp("/var/tmp", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	p := &place{t: t, root: root, dir: filepath.Join(root, "work"), uid: os.Getuid()}
	for _, dir := range []string{p.dir, p.bin(), p.runtime(), p.temp(), filepath.Join(root, "home")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := copyFile(self, filepath.Join(p.bin(), "ipvslab"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.env = append(os.Environ(), p.vars()...)
	t.Cleanup(p.clean)
	return p
}

func (p *place) bin() string     { return filepath.Join(p.root, "bin") }
func (p *place) runtime() string { return filepath.Join(p.root, "run") }
func (p *place) temp() string    { return filepath.Join(p.root, "tmp") }

func (p *place) vars() []string {
	return []string{
		"PATH=" + p.bin() + ":" + os.Getenv("PATH"), "HOME=" + p.root + "/home", "SHELL=/bin/bash",
		"XDG_CACHE_HOME=" + hostCache, "IPVSLAB_STATE=" + p.root + "/state", "XDG_RUNTIME_DIR=" + p.runtime(), "TMPDIR=" + p.temp(),
	}
}

// command is the command, not yet started.
func (p *place) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin(), "ipvslab"), args...)
	cmd.Args[0] = "ipvslab"
	cmd.Dir, cmd.Env = p.dir, p.env
	if p.uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.uid)}}
	}
	return cmd
}

// result is how a command ended.
type result struct {
	status      int
	out, errors string
}

// run runs the command to its end.
func (p *place) run(args ...string) result {
	p.t.Helper()
	return finish(p.t, p.command(args...))
}

func finish(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// ok runs the command, which must succeed, and returns its output.
func (p *place) ok(args ...string) string {
	p.t.Helper()
	r := p.run(args...)
	if r.status != 0 {
		p.t.Fatalf("ipvslab %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.errors)
	}
	return r.out
}

// example copies an example into the working directory.
func (p *place) example(name string) {
	p.t.Helper()
	if err := copyFile(filepath.Join("../../examples", name), filepath.Join(p.dir, name), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// clean takes down what is up, and sees that nothing is left.
func (p *place) clean() {
	if r := p.run("down", "--all"); r.status != 0 {
		p.t.Errorf("down --all: status %d\n%s%s", r.status, r.out, r.errors)
	}
	p.nothingLeft()
}

// nothingLeft waits until there is no trace of the command: no process, no
// socket or file of a guest, no namespace of a lab, no mount.
func (p *place) nothingLeft() {
	p.t.Helper()
	var left []string
	eventually(p.t, 30*time.Second, func() bool {
		left = append(p.processes(), p.files()...)
		return len(left) == 0
	}, func() string { return "left behind:\n  " + strings.Join(left, "\n  ") })
}

// processes lists those that have this place's paths in their arguments.
func (p *place) processes() (found []string) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, d := range dirs {
		line, err := os.ReadFile(filepath.Join(d, "cmdline"))
		exe, _ := os.Readlink(filepath.Join(d, "exe")) // of a process that has ended meanwhile
		if err == nil && (bytes.Contains(line, []byte(p.root)) || strings.HasPrefix(exe, p.root)) {
			found = append(found, filepath.Base(d)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// files lists what there is outside the working directory that should not be.
func (p *place) files() (found []string) {
	for _, pattern := range []string{p.runtime() + "/*", p.runtime() + "/*/*", p.temp() + "/*", p.root + "/state/labs/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			p.t.Fatal(err)
		}
		found = append(found, names...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, p.root) {
			found = append(found, line)
		}
	}
	return found
}

// eventually polls until the condition holds.
func eventually(t testing.TB, within time.Duration, holds func() bool, tell func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal(tell())
		case <-tick.C:
		}
	}
}

func copyFile(from, to string, mode os.FileMode) error {
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
}

// needKernel skips if labs can run nowhere here, and proves it: the command
// itself explains why. Packages that could be fetched first are not fetched by a test.
func needKernel(t testing.TB) launch.KernelStatus {
	t.Helper()
	why, s := noKernel()
	if why != "" && os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" {
		t.Fatal(why)
	}
	if why != "" {
		t.Skip(why)
	}
	return s
}

func noKernel() (string, launch.KernelStatus) {
	var s launch.KernelStatus
	out, err := exec.Command("ipvslab", "kernel", "status", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	switch {
	case err != nil:
		return "kernel status: " + err.Error(), s
	case s.Decision == nil:
		return s.Refusal, s
	case len(s.Decision.Fetch) > 0:
		return "a kernel would have to be fetched first (make kernel): " + strings.Join(s.Decision.Reasons, "; "), s
	}
	return "", s
}

// needGuest skips if labs run in this kernel.
func needGuest(t testing.TB) launch.KernelStatus {
	t.Helper()
	s := needKernel(t)
	if s.Decision.Launcher == choose.Host {
		t.Skip(strings.Join(s.Decision.Reasons, "; "))
	}
	return s
}
