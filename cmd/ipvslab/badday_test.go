package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// withoutPtrace is a command that runs its arguments where ptrace(2) is denied,
// as some containers do. user-mode Linux needs it.
func withoutPtrace() {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the system call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PTRACE, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
		if errno != 0 {
			err = errno
		}
	}
	if err == nil {
		err = syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "without ptrace:", err)
	os.Exit(99)
}

// bare leaves nothing in PATH but the command, and nothing in its cache.
func (p *place) bare() {
	p.t.Helper()
	p.env = append(p.env, "PATH="+p.bin(), "XDG_CACHE_HOME="+filepath.Join(p.root, "empty"))
}

// needNoKernel skips if a kernel is installed outside the user's cache: such a
// machine need fetch nothing.
func (p *place) needNoKernel() {
	p.t.Helper()
	if out := p.ok("kernel", "status"); strings.Contains(out, "guest kernels at hand") {
		p.t.Skip("kernels are installed on this machine: " + out)
	}
}

// fails runs a command that must fail with status 1 and say each of the words.
func (p *place) fails(cmd *exec.Cmd, words ...string) {
	p.t.Helper()
	r := finish(p.t, cmd)
	if r.status != exitFailed {
		p.t.Errorf("%v: status %d\n%s", cmd.Args, r.status, r.errors)
	}
	for _, w := range words {
		if !strings.Contains(r.errors, w) {
			p.t.Errorf("%v: nothing of %q in: %s", cmd.Args, w, r.errors)
		}
	}
}

// TestNoWay: this kernel will not do, ptrace is denied, there is no QEMU and no
// package manager. Each way is named with its reason.
func TestNoWay(t *testing.T) {
	t.Parallel()
	needGuest(t)
	p := newPlace(t)
	p.example("minimal.yaml")
	p.bare()
	p.needNoKernel()
	for _, args := range [][]string{{"up", "minimal.yaml"}, {"run", "minimal.yaml", "--", "true"}, {"kernel", "exec", "--", "true"}} {
		cmd := p.command(args...)
		denied, err := exec.LookPath("ipvslab-without-ptrace")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Args = append([]string{"ipvslab-without-ptrace", cmd.Path}, args...)
		cmd.Path = denied
		p.fails(cmd, "no kernel for this", "not host: kernel", "not uml: it takes", "ptrace", "not qemu: fetch package", "no apt-get", "--kernel /path/to/")
	}
}

// TestUnfitKernel: a kernel that is none, and one that ends at once.
func TestUnfitKernel(t *testing.T) {
	t.Parallel()
	needGuest(t)
	p := newPlace(t)
	if err := os.WriteFile(filepath.Join(p.dir, "vmlinux"), []byte("no kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.fails(p.command("--kernel", "./vmlinux", "kernel", "exec", "--", "true"), "vmlinux")
}

// fakeApt puts a package manager in front that offers the kernel's package and
// then does as the script says.
func (p *place) fakeApt(get string) {
	p.t.Helper()
	scripts := map[string]string{
		"apt-cache": `printf 'Package: user-mode-linux\nVersion: 6.1\nSize: 20000000\nInstalled-Size: 90000\n'`,
		"apt-get":   get, "dpkg-deb": "exit 1",
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(p.bin(), name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
}

// TestUnreachable: the package's source does not answer.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	needGuest(t)
	p := newPlace(t)
	p.bare()
	p.needNoKernel()
	p.fakeApt(`echo "E: Failed to fetch http://mirror.example/uml.deb  Could not resolve 'mirror.example'" >&2; exit 100`)
	for _, args := range [][]string{{"kernel", "fetch"}, {"kernel", "exec", "--", "true"}} {
		p.fails(p.command(append([]string{"--kernel", "uml"}, args...)...),
			"no kernel for this with --kernel uml", "Could not resolve", "see that the machine can reach its package mirror", "run it again")
	}
}

// TestFetchInterrupted: Ctrl-C while the package manager is at it.
func TestFetchInterrupted(t *testing.T) {
	t.Parallel()
	needGuest(t)
	p := newPlace(t)
	p.bare()
	p.needNoKernel()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	began := filepath.Join(p.dir, "began")
	p.fakeApt("echo $$ >" + began + "; exec " + sleep + " 1000")
	r := p.interrupted(syscall.SIGINT, func() bool { _, err := os.Stat(began); return err == nil }, "--kernel", "uml", "kernel", "exec", "--", "true")
	if r.status != 130 {
		t.Errorf("%+v", r)
	}
}

// inMounts runs a shell script, and the command from it, in a mount namespace
// of its own. It skips if this host makes none.
func (p *place) inMounts(script string, args ...string) result {
	p.t.Helper()
	unshare := []string{"unshare", "-m"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "mount", "-t", "tmpfs", "none", p.temp())...).CombinedOutput(); err != nil {
		p.t.Skipf("no mount namespaces here: %v: %s", err, out)
	}
	cmd := exec.Command(unshare[0], append(unshare[1:], append([]string{"sh", "-ec", script + "\nexec \"$@\"", "sh", "ipvslab"}, args...)...)...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return finish(p.t, cmd)
}

// TestDiskFull: no room in the cache for the kernel.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	needGuest(t)
	p := newPlace(t)
	path := os.Getenv("PATH")
	p.bare()
	p.needNoKernel()
	p.env = append(p.env, "PATH="+p.bin()+":"+path)
	p.fakeApt("echo it was not to get so far >&2; exit 1")
	r := p.inMounts("mkdir -p $XDG_CACHE_HOME; mount -t tmpfs -o size=1m none $XDG_CACHE_HOME", "--kernel", "uml", "kernel", "exec", "--", "true")
	for _, w := range []string{"MiB free", "are needed", "free some space, or set XDG_CACHE_HOME"} {
		if r.status != exitFailed || !strings.Contains(r.errors, w) {
			t.Errorf("no %q: %+v", w, r)
		}
	}
}

// TestPlaces: where the usual places for files are missing or of no use, a guest works all the same.
func TestPlaces(t *testing.T) {
	t.Parallel()
	needGuest(t)
	// The place's own environment stays: its last command takes down all labs that it finds.
	for name, script := range map[string]string{
		"temp missing":       "export TMPDIR=/nonexistent",
		"temp noexec":        "mount -t tmpfs -o noexec none $TMPDIR",
		"all temp noexec":    "mount -t tmpfs -o noexec none $TMPDIR; mount -t tmpfs -o noexec none /dev/shm; mount -t tmpfs -o noexec none /tmp",
		"cache read-only":    "mount --bind $XDG_CACHE_HOME $XDG_CACHE_HOME; mount -o remount,bind,ro $XDG_CACHE_HOME",
		"no shared memory":   lessDev,
		"no runtime setting": "export XDG_RUNTIME_DIR=",
		"no home":            "export HOME=",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			r := p.inMounts(script, "kernel", "exec", "--", "sh", "-c", "echo it works")
			if r.status != 0 || r.out != "it works\n" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// lessDev puts a directory with the barest devices in the place of /dev.
const lessDev = `d=$TMPDIR/dev; mkdir $d
mount -t tmpfs none $d; for f in null zero full random urandom tty; do touch $d/$f; mount --bind /dev/$f $d/$f; done
mkdir $d/pts; mount --bind /dev/pts $d/pts; ln -s pts/ptmx $d/ptmx; ln -s /proc/self/fd $d/fd
mount --rbind $d /dev; test ! -e /dev/shm; umount -R $d; rmdir $d`

// TestGuestDies: whoever is attached is told, with the end of the console; then
// everything works and nothing is left.
func TestGuestDies(t *testing.T) {
	t.Parallel()
	needGuest(t)
	p := newPlace(t)
	p.example("minimal.yaml")
	p.ok("up", "minimal.yaml")
	p.fails(p.command("exec", "client", "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"),
		"the guest", "with lab minimal died", "the end of its console", "Kernel panic")
	r := p.run("status")
	if r.status != 0 || !strings.Contains(r.out, "no labs are up") {
		t.Errorf("status: %+v", r)
	}
	if out := p.ok("down", "minimal"); !strings.Contains(out, "was not up") {
		t.Errorf("down: %s", out)
	}
	p.nothingLeft()

	// Nobody is attached: the next to come is told. For down that is no failure.
	p.ok("up", "minimal.yaml")
	before := p.guestRecords()
	p.killGuest()
	after := p.guestRecords()
	r = p.run("down", "minimal")
	if r.status != 0 || !strings.Contains(r.errors, "with lab minimal died") {
		t.Errorf("down: %+v\nrecord before the kill: %s\nafter it: %s", r, before, after)
	}
	p.nothingLeft()
	p.ok("up", "minimal.yaml")
	p.killGuest()
	p.fails(p.command("exec", "minimal/client", "--", "true"), "with lab minimal died")
	p.run("status")
	p.nothingLeft()

	// An ephemeral one.
	p.fails(p.command("kernel", "exec", "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"), "the guest died", "Kernel panic")
}

// guestRecords are the guests' records on disk, for the report of a failure.
func (p *place) guestRecords() (all string) {
	names, _ := filepath.Glob(p.runtime() + "/*/*/guest.json")
	for _, name := range names {
		text, err := os.ReadFile(name)
		all += fmt.Sprintf("%s: %s %v\n", name, text, err)
	}
	return all
}

// killGuest kills the guest's processes, but not its supervisor.
func (p *place) killGuest() {
	p.t.Helper()
	killed := 0
	for _, line := range p.processes() {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err != nil {
			p.t.Fatal(err)
		}
		if strings.Contains(line, "ipvslab-guest-init") && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed == 0 {
		p.t.Fatal("no process of a guest found")
	}
}
