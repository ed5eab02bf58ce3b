package main

import (
	"testing"

	"github.com/creack/pty"
)

// TestHintOnATerminal: what may have been meant is told on a terminal, in a
// lab's shell as with the command.
func TestHintOnATerminal(t *testing.T) {
	t.Parallel()
	needKernel(t)
	p := newPlace(t)
	p.example("article.yaml")
	p.ok("up", "article.yaml")
	const wrong = "ipvsadm -a -t 192.168.1.100:80 -r 172.10.100.131:80 -m"
	const hint = "Service not defined: no -A for 192.168.1.100:80; did you mean 192.168.1.117:80?"
	cmd := p.command("shell", "master")
	cmd.Env = append(cmd.Env, "TERM=dumb")
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	s := watch(t, tty)
	const prompt = "[master@article work]# "
	s.expect(prompt)
	s.enter(wrong + "\r")
	s.expect(hint + "\r\n")
	s.enter(wrong + " 2>said; cat said\r")
	s.expect("Service not defined\r\n")
	s.enter("ipvsadm-restore < missing.rules\r")
	s.expect("missing.rules: No such file or directory\r\n")
	s.enter("exit\r")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() == -1 {
		t.Errorf("the shell's end: %v", err)
	}
}
