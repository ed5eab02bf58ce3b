package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/guest/choose"
)

// interrupted starts the command, signals it when the condition holds, and waits for its end.
func (p *place) interrupted(s syscall.Signal, when func() bool, args ...string) result {
	p.t.Helper()
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its status is looked at
	}()
	p.t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test has failed
	eventually(p.t, time.Minute, func() bool {
		select {
		case <-ended:
			return true
		default:
			return when()
		}
	}, func() string { return "it does not get so far:\n" + strings.Join(p.processes(), "\n") })
	_ = cmd.Process.Signal(s) // it may have ended
	select {
	case <-ended:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-ended
		p.t.Errorf("%v does not end by %v", args, s)
	}
	r := result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		r.status = 128 + int(ws.Signal()) // it came before the program's first line
	}
	return r
}

// TestInterrupted: a signal ends each command at each stage with the shell's
// status for it, and nothing is left.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	kernel := needKernel(t)
	stages := map[string]func(*place) bool{
		"at once": func(*place) bool { return true },
		"in the boot": func(p *place) bool {
			return strings.Contains(strings.Join(p.processes(), "\n"), "ipvslab-sandbox-")
		},
		"in the command": func(p *place) bool {
			_, err := os.Stat(filepath.Join(p.dir, "began"))
			return err == nil
		},
	}
	if kernel.Decision.Launcher == choose.Host {
		delete(stages, "in the boot")
	}
	// A shell may lose a signal that comes just before it executes a program; not with traps.
	const script = `sleep 1000 & trap "kill $!; exit 130" INT; trap "kill $!; exit 143" TERM; echo began >began; wait`
	commands := map[string][]string{
		"up":          {"up", "slow.yaml"},
		"run":         {"run", "minimal.yaml", "--", "sh", "-c", script},
		"run in node": {"run", "--node", "client", "minimal.yaml", "--", "sh", "-c", script},
		"kernel exec": {"kernel", "exec", "--", "sh", "-c", script},
	}
	for name, args := range commands {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.example("minimal.yaml")
			p.slowLab()
			for stage, when := range stages {
				for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
					if stage != "in the command" && s == syscall.SIGTERM {
						continue
					}
					_ = os.Remove(filepath.Join(p.dir, "began")) // of the last one
					t.Logf("%v %s", s, stage)
					r := p.interrupted(s, func() bool { return when(p) }, args...)
					if r.status != 128+int(s) {
						t.Errorf("%v %s: %+v", s, stage, r)
					}
					p.nothingLeft()
				}
			}
		})
	}
}

// slowLab is the minimal lab with a command that never gets ready.
func (p *place) slowLab() {
	p.t.Helper()
	minimal, err := os.ReadFile("../../examples/minimal.yaml")
	if err != nil {
		p.t.Fatal(err)
	}
	const client = "client: {role: client, "
	command := `run: {slow: {argv: [sh, -c, "echo began >` + p.dir + `/began; sleep 1000"], ready: {file: /nonexistent, within: 5m}}}, `
	slow := strings.Replace(string(minimal), client, client+command, 1)
	if err := os.WriteFile(filepath.Join(p.dir, "slow.yaml"), []byte(slow), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// TestDownWhileTested: down finds a lab that a command under way has made, and
// the command says what became of it.
func TestDownWhileTested(t *testing.T) {
	t.Parallel()
	needKernel(t)
	p := newPlace(t)
	p.example("minimal.yaml")
	r := p.interrupted(0, func() bool { // signal 0: none
		return strings.Contains(p.ok("down", "--all"), "lab minimal is down")
	}, "test", "--keep", "minimal.yaml")
	if r.status != exitFailed || !strings.Contains(r.out, "lab minimal was taken down by somebody else while it was tested") {
		t.Errorf("%+v", r)
	}
	p.nothingLeft()
}
