package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a program has to end by itself after SIGTERM.
const grace = 300 * time.Millisecond

// runInit is the second stage, confined as the program is: it starts the
// program and waits for it. With a pid namespace it is that one's pid 1.
func runInit(arg string) {
	runtime.LockOSThread() // the program must die with this thread, which is the process's own
	var o order
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		fail("read order: %v", err)
	}
	for fd := controlFD; fd < firstFD+o.Files; fd++ {
		unix.CloseOnExec(fd)
	}
	if o.Plain {
		// Not pid 1: orphans must still come here, to be ended with the rest.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			fail("become reaper: %v", err)
		}
	}
	terminate := make(chan os.Signal, 2)
	signal.Notify(terminate, syscall.SIGTERM) // before there is anything to leave behind
	pid, err := startProgram(o)
	if err != nil {
		fail("start %s: %v", o.Argv[0], err)
	}
	sendReply(o.Answer)
	go endWithHost(pid, terminate)
	status := waitFor(pid)
	_ = unix.Kill(-pid, unix.SIGKILL) // none may be left
	if o.Plain {
		reapAll()
	}
	os.Exit(exitStatus(status))
}

func fail(format string, args ...any) {
	sendReply(reply{Error: fmt.Sprintf(format, args...)})
	os.Exit(1)
}

func startProgram(o order) (int, error) {
	if len(o.Affinity) > 0 {
		var set unix.CPUSet
		for _, c := range o.Affinity {
			set.Set(c)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return 0, fmt.Errorf("pin to CPUs %v: %w", o.Affinity, err)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), 1, 2}
	for i := range o.Files {
		files = append(files, uintptr(firstFD+i))
	}
	return syscall.ForkExec(o.Argv[0], o.Argv, &syscall.ProcAttr{
		Env: o.Env, Files: files,
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
}

// waitFor reaps until the program has ended.
func waitFor(pid int) syscall.WaitStatus {
	for {
		var s syscall.WaitStatus
		got, err := syscall.Wait4(-1, &s, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return syscall.WaitStatus(0xff00)
		}
		if got == pid {
			return s
		}
	}
}

func reapAll() {
	for {
		_, err := syscall.Wait4(-1, nil, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return // ECHILD
		}
	}
}

// endWithHost ends the program when the host's side asks for it with SIGTERM
// or is gone: then its end of the control socket is closed.
func endWithHost(pid int, terminate chan os.Signal) {
	go func() {
		b := make([]byte, 1)
		_, _ = readRetry(controlFD, b) // nothing is ever sent: end of file or an error, all the same
		terminate <- syscall.SIGTERM
	}()
	<-terminate
	_ = unix.Kill(-pid, unix.SIGTERM) // it may be gone
	time.Sleep(grace)
	_ = unix.Kill(-pid, unix.SIGKILL)
}
