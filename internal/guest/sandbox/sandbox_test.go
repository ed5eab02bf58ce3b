package sandbox

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Hook()
	if len(os.Args) > 1 && os.Args[1] == "confined" {
		fmt.Println(try(os.Args[2:]))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// try plays the guest kernel's process, in the sandbox: it tries one thing and
// says what came of it; "<nil>" is success.
func try(args []string) any {
	arg := ""
	if len(args) > 1 {
		arg = args[1]
	}
	switch args[0] {
	case "write":
		return os.WriteFile(arg, []byte("x\n"), 0o644)
	case "read":
		b, err := os.ReadFile(arg)
		if err != nil {
			return err
		}
		return string(b)
	case "list":
		entries, err := os.ReadDir(arg)
		if err != nil {
			return err
		}
		return entries
	case "connect":
		_, err := net.Dial("unix", arg)
		return err
	case "datagram":
		return sendDatagram(arg)
	case "kill":
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		return syscall.Kill(pid, 0)
	case "setuid bit":
		return os.Chmod(arg, 0o755|os.ModeSetuid)
	case "setuid file":
		_, err := unix.Open(arg, unix.O_CREAT|unix.O_WRONLY, 0o4755)
		return err
	case "mount":
		return unix.Mount("x", arg, "tmpfs", 0, "")
	case "remount":
		return unix.Mount("", arg, "", unix.MS_REMOUNT|unix.MS_BIND, "")
	case "userns":
		return unix.Unshare(unix.CLONE_NEWUSER)
	case "clone userns":
		return (&exec.Cmd{Path: "/proc/self/exe", SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}}).Start()
	case "io_uring":
		_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
		return errno
	case "uid":
		return os.Getuid()
	case "wait":
		<-time.After(time.Hour)
	}
	return "what?"
}

// sendDatagram sends to a unix socket without connecting, from one half of a pair if there is no other way.
func sendDatagram(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		pair, pairErr := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if pairErr != nil {
			return pairErr
		}
		fd = pair[0]
	}
	return unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: path})
}

// run runs one try in a sandbox and returns what it said.
func run(t *testing.T, spec Spec, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	spec.Argv = append([]string{Self, "confined"}, args...)
	spec.Output = &out
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &out)
	}
	return strings.TrimSpace(out.String())
}

// place is a directory of the test's outside the sandbox's writable one. Not
// t.TempDir, whose parents only their owner can enter.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sandbox-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestConfinement(t *testing.T) {
	probetest.Clone(t, namespaces)
	t.Run("invoker", testConfinement)
	t.Run("ordinary user", func(t *testing.T) { asOrdinaryUser(t, "TestConfinement/invoker") })
}

func testConfinement(t *testing.T) {
	inside, outside := place(t), place(t)
	socket := outside + "/s"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	datagrams := outside + "/d"
	d, err := net.ListenPacket("unixgram", datagrams)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, s := range []string{socket, datagrams} { // the permissions are not to be what stops it
		if err := os.Chmod(s, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	own := inside + "/own"
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := Spec{Writable: []string{inside}}
	for _, c := range []struct {
		try  []string
		want string // part of what it says
	}{
		{[]string{"write", inside + "/new"}, "<nil>"},
		{[]string{"write", own}, "<nil>"},
		{[]string{"write", outside + "/new"}, "read-only file system"},
		{[]string{"write", "/new"}, "read-only file system"},
		{[]string{"write", "/run/new"}, "read-only file system"},
		{[]string{"write", "/proc/sys/kernel/core_pattern"}, "denied|read-only"},
		{[]string{"list", "/run"}, "[]"},
		{[]string{"connect", socket}, "permission denied|not permitted"},
		{[]string{"datagram", datagrams}, "permission denied"},
		{[]string{"kill", strconv.Itoa(os.Getpid())}, "no such process"},
		{[]string{"read", "/proc/" + strconv.Itoa(os.Getppid()) + "/cmdline"}, "no such file"},
		{[]string{"setuid bit", own}, "not permitted"},
		{[]string{"setuid file", inside + "/suid"}, "not permitted"},
		{[]string{"mount", inside}, "not permitted"},
		{[]string{"remount", "/"}, "not permitted"},
		{[]string{"userns"}, "not permitted"},
		{[]string{"clone userns"}, "not permitted"},
		{[]string{"io_uring"}, "not implemented"},
		{[]string{"uid"}, "0"},
	} {
		got := run(t, spec, c.try...)
		ok := false
		for want := range strings.SplitSeq(c.want, "|") {
			ok = ok || strings.Contains(got, want)
		}
		if !ok {
			t.Errorf("%v: %q, want %q", c.try, got, c.want)
		}
	}
	status := run(t, spec, "read", "/proc/self/status")
	for _, want := range []string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("not %q in its status:\n%s", want, status)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(inside+"/new", &st); err != nil || int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() {
		t.Errorf("the file written inside belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
}

// asOrdinaryUser runs tests of this binary once more, as a user that is nobody in particular.
func asOrdinaryUser(t *testing.T, tests string) {
	t.Helper()
	if os.Getuid() != 0 {
		return // as good as done
	}
	dir := place(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := dir + "/sandbox.test"
	if err := os.WriteFile(binary, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.v", "-test.run", "^"+strings.ReplaceAll(tests, "/", "$/^")+"$")
	cmd.Env = append(os.Environ(), "HOME=/", "XDG_RUNTIME_DIR=")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+strings.SplitN(tests, "/", 2)[0])) {
		t.Errorf("as uid 1000: %v\n%s", err, out)
	}
}

// TestOwner: root in a directory of somebody else's writes as that one.
func TestOwner(t *testing.T) {
	probetest.Clone(t, namespaces)
	if os.Getuid() != 0 {
		t.Skip("only root can write in another user's directory")
	}
	dir := place(t)
	if err := os.Chown(dir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if got := run(t, Spec{Writable: []string{dir}}, "write", dir+"/new"); got != "<nil>" {
		t.Fatal(got)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/new", &st); err != nil || st.Uid != 1000 {
		t.Errorf("the file belongs to %d, %v", st.Uid, err)
	}
}

// TestWithoutNamespaces: Landlock and an unprivileged user have to do.
func TestWithoutNamespaces(t *testing.T) {
	t.Run("invoker", testWithoutNamespaces)
	t.Run("ordinary user", func(t *testing.T) { asOrdinaryUser(t, "TestWithoutNamespaces/invoker") })
}

func testWithoutNamespaces(t *testing.T) {
	inside, outside := place(t), place(t)
	for _, dir := range []string{inside, outside} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	spec := Spec{Writable: []string{inside}, Namespaces: Never}
	uid := run(t, spec, "uid")
	if uid == "0" {
		t.Errorf("it runs as root")
	}
	for _, c := range []struct{ try, path, want string }{
		{"write", inside + "/new", "<nil>"},
		{"write", outside + "/new", "permission denied"},
		{"connect", outside + "/s", "permission denied|not permitted"},
		{"setuid bit", inside + "/new", "not permitted"},
	} {
		got := run(t, spec, c.try, c.path)
		ok := false
		for want := range strings.SplitSeq(c.want, "|") {
			ok = ok || strings.Contains(got, want)
		}
		if !ok {
			t.Errorf("%s %s: %q, want %q", c.try, c.path, got, c.want)
		}
	}
	left, err := filepath.Glob("/dev/shm/" + privatePrefix + strconv.Itoa(os.Getpid()) + "-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestKill: no process is left, also when the host's side does not get to say a word.
func TestKill(t *testing.T) {
	for _, use := range []Use{Auto, Never} {
		p, err := Start(Spec{Argv: []string{Self, "confined", "wait"}, Namespaces: use})
		if err != nil {
			t.Fatal(err)
		}
		p.Kill()
		if err := syscall.Kill(-p.Pid(), 0); err != syscall.ESRCH {
			t.Errorf("%s: group of %d: %v", p.Mode(), p.Pid(), err)
		}
	}
}

func TestStartErrors(t *testing.T) {
	_, err := Start(Spec{Argv: []string{"/nonexistent/linux"}})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/linux") {
		t.Errorf("missing program: %v", err)
	}
	if _, err := Start(Spec{}); err == nil {
		t.Error("no program: no error")
	}
}

func TestUnescapeMount(t *testing.T) {
	for in, want := range map[string]string{`/a\040b`: "/a b", `/a`: "/a", `/a\134b`: `/a\b`, `/a\0`: `/a\0`} {
		if got := unescapeMount(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
