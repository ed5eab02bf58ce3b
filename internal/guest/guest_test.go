package guest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/guest/session"
)

func TestMain(m *testing.M) {
	guest.Hook()
	if os.Getenv(cliEnv) != "" {
		cli()
	}
	os.Exit(m.Run())
}

// imageEnv is a kernel and its modules, for the user who cannot see the cache.
const imageEnv = "GUEST_TEST_IMAGE"

// findKernel finds a user-mode Linux at hand.
func findKernel() (kernel, modules string, err error) {
	if given := os.Getenv(imageEnv); given != "" {
		kernel, modules, _ = strings.Cut(given, ":")
		return kernel, modules, nil
	}
	found, err := image.Find(context.Background(), image.Want{Launcher: image.UML})
	if err != nil {
		return "", "", err
	}
	if found = image.Usable(found); len(found) == 0 {
		return "", "", errors.New("no user-mode Linux at hand (ipvslab kernel fetch)")
	}
	return found[0].Path, found[0].Modules, nil
}

// options are those of a small guest: few modules, so that it boots fast.
func options(t *testing.T) guest.Options {
	t.Helper()
	kernel, modules, err := findKernel()
	if err != nil {
		if os.Getenv("IPVSLAB_REQUIRE_KERNEL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return guest.Options{
		Kernel: kernel, ModulesDir: modules, Modules: []string{"overlay"}, Dir: t.TempDir(), Memory: 128 << 20,
		Note: func(s string) { t.Log("note:", s) },
	}
}

func sh(o guest.Options, script string) guest.Command {
	return guest.Command{Argv: []string{"sh", "-c", script}, Dir: o.Dir}
}

func TestStatusAndStreams(t *testing.T) {
	o := options(t)
	var stdout, stderr bytes.Buffer
	cmd := sh(o, "cat; echo problem >&2; echo kept > file; exit 7")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hello\n"), &stdout, &stderr
	status, err := guest.Run(t.Context(), o, cmd)
	if err != nil || status != 7 || stdout.String() != "hello\n" || stderr.String() != "problem\n" {
		t.Errorf("status %d, error %v, stdout %q, stderr %q", status, err, &stdout, &stderr)
	}
	if b, err := os.ReadFile(filepath.Join(o.Dir, "file")); err != nil || string(b) != "kept\n" {
		t.Errorf("file written in the guest: %q, %v", b, err)
	}
}

// output runs a script in a guest of its own and returns what it said.
func output(t *testing.T, o guest.Options, script string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := sh(o, script)
	cmd.Stdout, cmd.Stderr = &out, &out
	status, err := guest.Run(t.Context(), o, cmd)
	if err != nil || status != 0 {
		t.Errorf("status %d, %v: %s", status, err, &out)
	}
	return out.String()
}

// TestPlace: the guest is the place that commands expect.
func TestPlace(t *testing.T) {
	o := options(t)
	t.Setenv("IPVSLAB_GUEST", "something else")
	shown := "/tmp/guest-test-" + strconv.FormatUint(rand.Uint64(), 36)
	if err := os.WriteFile(shown, []byte("the host's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(shown)
	got := output(t, o, `
		pwd; id -u; hostname; echo $IPVSLAB_GUEST; ulimit -n; cat /sys/class/net/lo/flags
		ls -d /run/ipvslab; cat /proc/sys/kernel/modprobe; tr -d '\n' < /proc/sys/kernel/hotplug; ls /sys/class/net
		cat `+shown+`; echo mine > /tmp/new && cat /tmp/new; echo x > `+shown+` && cat `+shown+`
		stat -c %u .; test $(($(date +%s) - `+time.Now().Format("20060102")+`)) -gt 0; sleep 60 & `)
	want := o.Dir + "\n0\nipvslab\numl\n1048576\n0x9\n/run/ipvslab\n\nlo\nthe host's\nmine\nx\n0\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if b, err := os.ReadFile(shown); err != nil || string(b) != "the host's\n" {
		t.Errorf("the host's file: %q, %v", b, err)
	}
}

// TestModulesOnDemand: what not every lab needs, or none, is loaded when the kernel asks
// for it, or at once if it is known to be needed.
func TestModulesOnDemand(t *testing.T) {
	o := options(t)
	o.Modules, o.Features = nil, []string{"sched:sh"}
	got := output(t, o, `
		for m in ip_vs ip_vs_sh ip_vs_wlc ipip; do grep -c "^$m " /proc/modules; done
		ip link add t0 type ipip remote 10.0.0.1 && grep -c '^ipip ' /proc/modules
		/proc/1/exe -q -- ip_vs_wlc && grep -c '^ip_vs_[wsm]' /proc/modules
		ip link add v0 type vxlan id 1 dstport 0 && grep -c '^vxlan ' /proc/modules
		ip link add t1 type nonsense 2>/dev/null || echo refused
		test ! -d /lib/modules || test -d /lib/modules/$(uname -r)/kernel && echo place`)
	if want := "1\n1\n0\n0\n1\n5\n1\nrefused\nplace\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestConfined: root in the guest makes its view of the host writable and tries.
func TestConfined(t *testing.T) {
	o := options(t)
	outside, err := os.MkdirTemp("/var/tmp", "guest-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(outside)
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	got := output(t, o, `
		mount -o remount,rw / && echo remounted
		mkdir /run/again && mount -t hostfs none /run/again -o / && echo mounted
		for d in `+outside+` /run/again`+outside+` /etc /run/again/etc /usr; do
			(echo x > $d/ipvslab-test) 2>/dev/null && echo "written: $d"
		done
		echo fine > in; chmod 4755 in 2>/dev/null; true`)
	if got != "remounted\nmounted\n" {
		t.Errorf("got %q", got)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(o.Dir, "in"), &st); err != nil || int(st.Uid) != os.Getuid() || st.Mode&0o6000 != 0 {
		t.Errorf("file in the working directory: owner %d, mode %o, %v", st.Uid, st.Mode, err)
	}
}

// TestWithoutNamespaces: on a host that refuses them the guest runs, confined by Landlock and a user without rights.
func TestWithoutNamespaces(t *testing.T) {
	_, image, _ := strings.Cut(publicImage(t), "=")
	t.Setenv(imageEnv, image)
	o := options(t)
	o.NoNamespaces = true
	outside, err := os.MkdirTemp("/var/tmp", "guest-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(outside)
	for _, dir := range []string{outside, o.Dir} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	got := output(t, o, `
		mount -o remount,rw / && echo remounted
		(echo x > `+outside+`/x) 2>/dev/null && echo "written outside"
		(echo x > in) 2>/dev/null && echo "written inside"; true`)
	if !strings.HasPrefix(got, "remounted\n") || strings.Contains(got, "outside") {
		t.Errorf("got %q", got)
	}
	if os.Getuid() != 0 && !strings.Contains(got, "inside") {
		t.Errorf("got %q", got)
	}
	if left, err := filepath.Glob("/dev/shm/ipvslab-guest-" + strconv.Itoa(os.Getpid()) + "-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestBulk: a mebibyte comes through intact both ways.
func TestBulk(t *testing.T) {
	o := options(t)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	var out, errs bytes.Buffer
	cmd := sh(o, "tee /dev/stderr")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &errs
	status, err := guest.Run(t.Context(), o, cmd)
	if err != nil || status != 0 || !bytes.Equal(out.Bytes(), data) || !bytes.Equal(errs.Bytes(), data) {
		t.Errorf("status %d, %v, stdout equal %v, stderr equal %v", status, err, bytes.Equal(out.Bytes(), data), bytes.Equal(errs.Bytes(), data))
	}
}

func TestNotStarted(t *testing.T) {
	o := options(t)
	status, err := guest.Run(t.Context(), o, guest.Command{Argv: []string{"/nonexistent"}})
	var start *session.StartError
	if status != 127 || !errors.As(err, &start) {
		t.Errorf("status %d, %v", status, err)
	}
}

// TestDied: a guest whose kernel panics is named with the end of its console.
func TestDied(t *testing.T) {
	o := options(t)
	status, err := guest.Run(t.Context(), o, sh(o, "echo c > /proc/sysrq-trigger; sleep 60"))
	var died *guest.DiedError
	if !errors.As(err, &died) || !strings.Contains(died.Console, "Kernel panic") || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("status %d, %v", status, err)
	}
	if err != nil && died.Booting {
		t.Errorf("it was ready: %v", err)
	}
}

// TestDiesBooting: so is one that panics before it is ready, in the foreground
// and in the background, of which nothing else is left.
func TestDiesBooting(t *testing.T) {
	ownRuntimeDir(t)
	o := options(t)
	o.KernelArgs = append(o.KernelArgs, "rootflags=/nonexistent")
	_, inFront := guest.Run(t.Context(), o, sh(o, "true"))
	g, behind := guest.Start(t.Context(), o)
	if g != nil {
		t.Fatal("the guest has started", g.Stop())
	}
	for name, err := range map[string]error{"foreground": inFront, "background": behind} {
		var died *guest.DiedError
		if !errors.As(err, &died) || !died.Booting || !strings.Contains(died.Console, "Kernel panic") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range []string{"died while it booted", "panicked", "the end of its console"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in %v", name, want, err)
			}
		}
		if strings.Contains(err.Error(), "connection lost") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoKernel(t *testing.T) {
	o := options(t)
	o.Kernel = "/nonexistent/linux"
	if _, err := guest.Run(t.Context(), o, sh(o, "true")); err == nil || !strings.Contains(err.Error(), "/nonexistent/linux") {
		t.Errorf("error %v", err)
	}
	o = options(t)
	o.Kernel = "/bin/true" // ends at once
	var died *guest.DiedError
	if _, err := guest.Run(t.Context(), o, sh(o, "true")); !errors.As(err, &died) {
		t.Errorf("error %v", err)
	}
	o = options(t)
	o.Kernel, o.BootTimeout = "/bin/cat", 300*time.Millisecond // complains of its arguments, or waits
	if _, err := guest.Run(t.Context(), o, sh(o, "true")); !errors.As(err, &died) {
		t.Errorf("error %v", err)
	}
}

// background starts a background guest in a runtime directory of the test's own.
func background(t *testing.T, o guest.Options) *guest.Guest {
	t.Helper()
	ownRuntimeDir(t)
	g, err := guest.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// ownRuntimeDir gives the test a runtime directory, and looks that it is empty at the end.
func ownRuntimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "r") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in the runtime directory: %v, %v", left, err)
		}
		os.RemoveAll(dir)
	})
	return dir
}

// TestSeveralAtOnce: commands in one guest at the same time, with their own streams and statuses.
func TestSeveralAtOnce(t *testing.T) {
	o := options(t)
	g := background(t, o)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			var out bytes.Buffer
			word := strings.Repeat(string(rune('a'+i)), 1000)
			cmd := sh(o, "read x; i=0; while [ $i -lt 50 ]; do echo $x; i=$((i+1)); done; exit $((${#x} % 200 + "+string(rune('0'+i))+"))")
			cmd.Stdin, cmd.Stdout = strings.NewReader(word+"\n"), &out
			status, err := g.Run(t.Context(), cmd)
			if err != nil || status != i || out.String() != strings.Repeat(word+"\n", 50) {
				t.Errorf("%d: status %d, %v, %d bytes", i, status, err, out.Len())
			}
		})
	}
	all.Wait()
}

// TestLabs: a guest is found by its labs, and ends when the last is gone.
func TestLabs(t *testing.T) {
	o := options(t)
	ownRuntimeDir(t)
	g, err := guest.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	if _, err := guest.Find("one", nil); !errors.Is(err, guest.ErrNoGuest) {
		t.Errorf("find before it is there: %v", err)
	}
	run := func(script string) {
		t.Helper()
		if status, err := g.Run(t.Context(), sh(o, script)); status != 0 || err != nil {
			t.Errorf("%s: status %d, %v", script, status, err)
		}
	}
	run("mkdir -p /run/ipvslab/labs/one /run/ipvslab/labs/two")
	found, err := guest.Find("two", nil)
	if err != nil || found.ID != g.ID {
		t.Fatalf("found %v, %v", found, err)
	}
	run("rmdir /run/ipvslab/labs/one")
	if _, err := guest.Find("one", nil); !errors.Is(err, guest.ErrNoGuest) {
		t.Errorf("find when it is gone: %v", err)
	}
	run("rmdir /run/ipvslab/labs/two")
	waitGone(t, g.PID)
}

// waitGone waits until a process has ended.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	gomega.NewWithT(t).Eventually(func() error { return syscall.Kill(pid, 0) }).
		WithTimeout(20*time.Second).WithPolling(20*time.Millisecond).
		Should(gomega.HaveOccurred(), "process %d still runs", pid)
}

// TestGuestDies: who is attached is told, and so is who comes for the lab; then nothing is left.
func TestGuestDies(t *testing.T) {
	o := options(t)
	g := background(t, o)
	if status, err := g.Run(t.Context(), sh(o, "mkdir -p /run/ipvslab/labs/one")); status != 0 || err != nil {
		t.Fatal(status, err)
	}
	var died *guest.DiedError
	_, err := g.Run(t.Context(), sh(o, "echo c > /proc/sysrq-trigger; sleep 60"))
	if !errors.As(err, &died) || died.ID != g.ID || !strings.Contains(died.Console, "Kernel panic") {
		t.Errorf("attached: %v", err)
	}
	waitGone(t, g.PID)
	if _, err = guest.Find("one", nil); !errors.As(err, &died) || !strings.Contains(err.Error(), "one") {
		t.Errorf("find its lab: %v", err)
	}
	if _, err = guest.Find("one", nil); !errors.Is(err, guest.ErrNoGuest) {
		t.Errorf("find its lab again: %v", err)
	}
}

// TestSupervisorKilled: its guest is gone with it, and the next call removes its files.
func TestSupervisorKilled(t *testing.T) {
	o := options(t)
	o.KernelArgs = []string{marker()}
	g := background(t, o)
	if status, err := g.Run(t.Context(), sh(o, "mkdir -p /run/ipvslab/labs/one")); status != 0 || err != nil {
		t.Fatal(status, err)
	}
	if len(withMarker(t, o.KernelArgs[0])) == 0 {
		t.Error("no process of the guest found before")
	}
	out, in := io.Pipe()
	attached := make(chan error)
	go func() {
		cmd := sh(o, "echo ready; sleep 600")
		cmd.Stdout = in
		_, err := g.Run(context.Background(), cmd)
		attached <- err
	}()
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(g.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var died *guest.DiedError
	if err := <-attached; !errors.As(err, &died) {
		t.Errorf("attached: %v", err)
	}
	nothingLeft(t, o.KernelArgs[0])
	if _, err := guest.Find("one", nil); !errors.As(err, &died) {
		t.Errorf("find its lab: %v", err)
	}
}
