package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

func TestExec(t *testing.T) {
	probetest.Namespaces(t)
	stateRoot(t)
	l := up(t, plan(t, "nat.yaml", labName("exec")), lab.Options{NoServices: true})
	node, err := l.Node("rs1")
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		Out    string
		Status int
		Start  bool // ErrStart
	}
	for name, test := range map[string]struct {
		spec lab.ExecSpec
		want result
	}{
		"status":      {lab.ExecSpec{Argv: []string{"sh", "-c", "echo out; exit 7"}}, result{"out\n", 7, false}},
		"signal":      {lab.ExecSpec{Argv: []string{"sh", "-c", "kill -TERM $$"}}, result{"", 143, false}},
		"not found":   {lab.ExecSpec{Argv: []string{"no-such-program"}}, result{"", 127, true}},
		"not a file":  {lab.ExecSpec{Argv: []string{"/no/such/program"}}, result{"", 127, true}},
		"not program": {lab.ExecSpec{Argv: []string{"/etc"}}, result{"", 126, true}},
		"no argv":     {lab.ExecSpec{}, result{"", 127, true}},
		"directory":   {lab.ExecSpec{Argv: []string{"pwd"}, Dir: "/usr"}, result{"/usr\n", 0, false}},
		"no such dir": {lab.ExecSpec{Argv: []string{"pwd"}, Dir: "/nowhere"}, result{"", 126, true}},
		"environment": {
			lab.ExecSpec{Argv: []string{"sh", "-c", "echo $IPVSLAB_LAB $IPVSLAB_NODE $A"}, Env: []string{"A=b"}},
			result{l.Name() + " rs1 b\n", 0, false},
		},
		"stdin":  {lab.ExecSpec{Argv: []string{"cat"}, Stdin: strings.NewReader("in")}, result{"in", 0, false}},
		"sysfs":  {lab.ExecSpec{Argv: []string{"cat", "/sys/class/net/inside/carrier"}}, result{"1\n", 0, false}},
		"names":  {lab.ExecSpec{Argv: []string{"sh", "-c", "grep -w rs1 /etc/hosts | cut -d' ' -f2; ! grep nameserver /etc/resolv.conf"}}, result{"rs1\n", 0, false}},
		"thread": {lab.ExecSpec{Argv: []string{"readlink", "/proc/thread-self/ns/net"}}, result{link(t, node), 0, false}},
		"fds":    {lab.ExecSpec{Argv: []string{"sh", "-c", listFiles}}, result{openFiles(t), 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			test.spec.Stdout = &out
			status, err := node.Exec(t.Context(), test.spec)
			got := result{out.String(), status, errors.Is(err, lab.ErrStart)}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if err != nil && !got.Start {
				t.Error(err)
			}
		})
	}
	out, err := node.Command(t.Context(), "no-such-program").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "node rs1: no-such-program: command not found") {
		t.Errorf("Command: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := node.Exec(ctx, lab.ExecSpec{Argv: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Exec after its context: %v", err)
	}
}

const listFiles = "ls /proc/$$/fd"

// openFiles are those of any child of this process: none of the lab's.
func openFiles(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", listFiles).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// link is the node's namespace as a process in it sees it.
func link(t *testing.T, node *lab.Node) string {
	t.Helper()
	ns, err := netns.Open(node.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { link, err = os.Readlink("/proc/thread-self/ns/net"); return err }); err != nil {
		t.Fatal(err)
	}
	return link + "\n"
}

// /etc/netns/NAMESPACE/* lies over /etc/*, and the host's files stay as they are.
func TestEtcNetns(t *testing.T) {
	probetest.Namespaces(t)
	stateRoot(t)
	l := up(t, plan(t, "nat.yaml", labName("etc")), lab.Options{NoServices: true})
	node, err := l.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("/etc/netns", node.Namespace())
	t.Cleanup(func() { os.RemoveAll(dir); os.Remove("/etc/netns") }) // the latter only if it is empty
	if err := os.MkdirAll(dir, 0o755); errors.Is(err, syscall.EROFS) {
		t.Skip("a guest's /etc is the host's, and read-only: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "passwd"), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := run(t, l, "client", "cat /etc/passwd"); out != "mine\n" {
		t.Errorf("/etc/passwd is %q", out)
	}
	if out := run(t, l, "rs1", "cat /etc/passwd"); out == "mine\n" {
		t.Error("another node sees it")
	}
	if data, err := os.ReadFile("/etc/passwd"); err != nil || string(data) == "mine\n" {
		t.Errorf("the host's /etc/passwd is %q, %v", data, err)
	}
}

// startAndHear starts a command and waits until it has said something.
func startAndHear(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
}

// Down ends whoever is in the lab: by whatever door it came, and if it won't hear.
func TestDownEndsProcesses(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	l := up(t, plan(t, "nat.yaml", labName("procs")), lab.Options{NoServices: true})
	client, err := l.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	deaf := client.Command(t.Context(), "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done")
	startAndHear(t, deaf)
	stranger := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := client.Do(stranger.Start); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	for cmd, want := range map[*exec.Cmd]syscall.Signal{deaf: syscall.SIGKILL, stranger: syscall.SIGTERM} {
		err := cmd.Wait()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != want {
			t.Errorf("%v: %v, want %v", cmd.Args, err, want)
		}
	}
	nothingLeft(t, dir, l.Name())
}

// Down does not end a process that only looks into a node, as a command does
// that tests the lab; unless it stays.
func TestDownLetsVisitorsLeave(t *testing.T) {
	probetest.Namespaces(t)
	lab.SetLeaveGrace(t, 3*time.Second)
	dir := stateRoot(t)
	l := up(t, plan(t, "nat.yaml", labName("visit")), lab.Options{NoServices: true})
	visitors := map[string]*exec.Cmd{}
	for _, verb := range []string{"visit", "stay"} {
		cmd, _ := helperCommand(t, verb, l.Name())
		startAndHear(t, cmd)
		visitors[verb] = cmd
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := visitors["visit"].Wait(); err != nil {
		t.Errorf("a visitor who leaves: %v", err)
	}
	err := visitors["stay"].Wait()
	if ws, ok := visitors["stay"].ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGTERM {
		t.Errorf("a visitor who stays: %v, want %v", err, syscall.SIGTERM)
	}
	nothingLeft(t, dir, l.Name())
}

// Nobody ends a lab from within, and a goroutine of ours that is inside is named.
func TestDownFromInside(t *testing.T) {
	probetest.Namespaces(t)
	stateRoot(t)
	l := up(t, plan(t, "nat.yaml", labName("self")), lab.Options{NoServices: true})
	client, err := l.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Do(func() error { return l.Down(t.Context()) }); !errors.Is(err, lab.ErrInside) {
		t.Errorf("from inside: got %v, want ErrInside", err)
	}
	cmd := client.Command(t.Context(), exe(t))
	cmd.Env = append(cmd.Env, "LAB_TEST_VERB=down", "LAB_TEST_NAME="+l.Name())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "leave it first") {
		t.Errorf("from a command: %v\n%s", err, out)
	}
	inside, leave, left := make(chan bool), make(chan bool), make(chan error)
	go func() {
		left <- client.Do(func() error { close(inside); <-leave; return nil })
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Down(ctx); err == nil || !strings.Contains(err.Error(), "this very process") {
		t.Errorf("with another goroutine inside: got %v", err)
	}
	close(leave)
	if err := <-left; err != nil {
		t.Error(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Error(err)
	}
}

func exe(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A command in one lab must not keep another lab's namespaces alive by having
// copies of their mounts.
func TestCommandPinsNothing(t *testing.T) {
	probetest.Namespaces(t)
	stateRoot(t)
	one := up(t, plan(t, "nat.yaml", labName("pin1")), lab.Options{NoServices: true})
	two := up(t, plan(t, "nat.yaml", labName("pin2")), lab.Options{NoServices: true})
	node, err := one.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	cmd := node.Command(t.Context(), "sh", "-c", "echo; sleep 1000")
	startAndHear(t, cmd)
	if err := two.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), two.Name()+".") {
		t.Errorf("%s is still mounted in a command of %s", two.Name(), one.Name())
	}
}

func TestCommands(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	ready := filepath.Join(t.TempDir(), "ready")
	p := plan(t, "nat.yaml", labName("commands"))
	p.Nodes[2].Commands = []topology.Command{
		{Name: "once", Argv: []string{"sh", "-c", "echo $WORD"}, Env: map[string]string{"WORD": "hello"}, Ready: topology.Ready{Exit: true}},
		{Name: "file", Argv: []string{"sh", "-c", "touch " + ready + "; sleep 1000"}, Ready: topology.Ready{File: ready}},
		{Name: "log", Argv: []string{"sh", "-c", "echo at your service; sleep 1000"}, Ready: topology.Ready{Log: "^at .* service$"}},
		{Name: "bare", Argv: []string{"sleep", "1000"}},
	}
	p.Nodes[2].Responders = nil
	server := []string{"python3", "-m", "http.server", "8000"}
	if _, err := exec.LookPath(server[0]); err == nil {
		p.Nodes[2].Commands = append(p.Nodes[2].Commands,
			topology.Command{Name: "tcp", Argv: server, Dir: t.TempDir(), Ready: topology.Ready{TCP: "rs1:8000", Within: time.Minute}},
			topology.Command{Name: "http", Argv: []string{"sleep", "1000"}, Ready: topology.Ready{HTTP: "http://10.9.1.11:8000/"}})
	}
	l := up(t, p, lab.Options{NoServices: true})
	status, err := l.Status()
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Processes) != len(p.Nodes[2].Commands) {
		t.Errorf("recorded: %+v", status.Processes)
	}
	if log, err := os.ReadFile(status.Processes[0].Log); err != nil || string(log) != "hello\n" {
		t.Errorf("log of once: %q, %v", log, err)
	}
	if status.Processes[0].Alive || !status.Processes[1].Alive {
		t.Errorf("alive: %+v", status.Processes)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
}

func TestCommandNotReady(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	for name, test := range map[string]struct {
		command topology.Command
		want    []string
	}{
		"deadline": {
			topology.Command{Argv: []string{"sh", "-c", "echo cause; sleep 1000"}, Ready: topology.Ready{TCP: "127.0.0.1:9", Within: 2 * time.Second}},
			[]string{"command it of node rs1", "not ready within 2s", "refused", "  cause"},
		},
		"ended": {
			topology.Command{Argv: []string{"sh", "-c", "echo cause >&2; exit 3"}, Ready: topology.Ready{TCP: ":9"}},
			[]string{"command it of node rs1", "ended (exit status 3)", "  cause"},
		},
		"missing": {
			topology.Command{Argv: []string{"no-such-program"}, Ready: topology.Ready{Log: "x"}},
			[]string{"command it of node rs1", "can't start the command: no-such-program: command not found"},
		},
		"bad pattern": {
			topology.Command{Argv: []string{"sleep", "1000"}, Ready: topology.Ready{Log: "("}},
			[]string{"command it of node rs1", "readiness", "missing closing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan(t, "nat.yaml", labName("unready"))
			test.command.Name = "it"
			p.Nodes[2].Commands = []topology.Command{test.command}
			_, err := lab.Up(t.Context(), p, lab.Options{NoServices: true})
			if err == nil {
				t.Fatal("succeeded")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			nothingLeft(t, dir, p.Name)
		})
	}
}

// Ctrl-C while a lab is made.
func TestUpCancelled(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	p := plan(t, "nat.yaml", labName("cancel"))
	p.Nodes[2].Commands = []topology.Command{{Name: "it", Argv: []string{"sleep", "1000"}, Ready: topology.Ready{Log: "never"}}}
	for _, at := range []string{"creating segments", "creating nodes", "waiting for links", "starting responders", "starting commands"} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := lab.Up(ctx, p, lab.Options{Agent: lab.Detached, NoServices: true, Progress: func(step string) {
			if step == at {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", at, err)
		}
		nothingLeft(t, dir, p.Name)
	}
}
