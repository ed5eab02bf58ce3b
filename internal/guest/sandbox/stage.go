package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// First arguments of the stages. [Hook] acts on them.
const (
	StageMark = "ipvslab-sandbox-stage" // confines itself, then executes the next
	initMark  = "ipvslab-sandbox-init"  // starts the program and waits for it
)

// Hook runs the stage of the sandbox that this process was started as, and
// then never returns. In any other process it returns at once.
func Hook() {
	if len(os.Args) < 2 || os.Args[0] != "ipvslab" {
		return
	}
	switch os.Args[1] {
	case StageMark:
		runStage()
	case initMark:
		runInit(os.Args[2])
	}
}

// runStage is the first stage: told by the host's side what to do, it confines
// itself and executes the second.
func runStage() {
	runtime.LockOSThread() // what it gives up, this thread gives up
	unix.CloseOnExec(selfFD)
	r, fds, err := receiveRequest(controlFD)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			sendReply(reply{Error: err.Error()})
		}
		os.Exit(1)
	}
	notes, err := prepare(&r, fds)
	if err != nil {
		sendReply(reply{Error: err.Error(), Refused: errors.Is(err, errRefused)})
		os.Exit(1)
	}
	answer := reply{Mode: Namespaced, Notes: notes}
	if !r.Tree {
		answer.Mode, answer.Notes = restrictFiles(r, notes)
	}
	err = dropPrivileges()
	var self string
	if err == nil {
		self, err = reachableSelf(r)
	}
	if err == nil {
		err = installFilter()
	}
	if err != nil {
		sendReply(reply{Error: err.Error()})
		os.Exit(1)
	}
	err = executeInit(r, self, answer)
	sendReply(reply{Error: fmt.Sprintf("execute second stage: %v", err)})
	os.Exit(1)
}

// prepare makes the file tree of the program, unless it has a private directory already.
func prepare(r *request, fds []int) ([]string, error) {
	if r.PrivateDir != "" {
		return nil, nil
	}
	notes, err := buildTree(*r, fds)
	if err != nil {
		return nil, asRefusal("build file tree", err)
	}
	r.PrivateDir, r.Tree = privateDir, true
	return notes, nil
}

// reachableSelf returns a path of the running executable that the confined
// process, and the kernel's command line (no blanks), can use; if there is
// none, it makes a copy.
func reachableSelf(r request) (string, error) {
	var own, seen unix.Stat_t
	if err := unix.Fstat(selfFD, &own); err != nil {
		return "", fmt.Errorf("look at executable: %w", err)
	}
	if !strings.ContainsAny(r.Self, " \t\n\"") && unix.Access(r.Self, unix.R_OK|unix.X_OK) == nil &&
		unix.Stat(r.Self, &seen) == nil && seen.Ino == own.Ino && seen.Size == own.Size {
		return r.Self, nil
	}
	path := r.PrivateDir + "/ipvslab"
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return "", fmt.Errorf("copy executable: %w", err)
	}
	_, err = io.Copy(out, io.NewSectionReader(os.NewFile(selfFD, "self"), 0, own.Size))
	if err := errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("copy executable: %w", err)
	}
	return path, nil
}

// order is what the second stage is told, as its second argument.
type order struct {
	Argv, Env []string
	Files     int
	Affinity  []int
	Plain     bool // no pid namespace
	Answer    reply
}

func executeInit(r request, self string, answer reply) error {
	fill := strings.NewReplacer(Private, r.PrivateDir, Self, self)
	o := order{Files: r.Files, Affinity: r.Affinity, Answer: answer, Plain: !r.Tree}
	for _, a := range r.Argv {
		o.Argv = append(o.Argv, fill.Replace(a))
	}
	for _, e := range r.Env {
		o.Env = append(o.Env, fill.Replace(e))
	}
	o.Env = append(o.Env, "TMPDIR="+r.PrivateDir, "HOME="+r.PrivateDir)
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return unix.Exec(self, []string{"ipvslab", initMark, string(b)}, os.Environ())
}
