package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Descriptors of the stages. The program's own files follow.
const (
	controlFD = 3 // the socket to the host's side; its end of file means that the host's side is gone
	selfFD    = 4 // the running executable
	firstFD   = 5
)

// openSelf opens the running executable such that any user can execute the descriptor.
func openSelf() (*os.File, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("open executable: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if os.Geteuid() != 0 || info.Mode()&0o005 == 0o005 {
		return f, nil
	}
	defer f.Close()
	fd, err := unix.MemfdCreate("ipvslab", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy executable: %w", err)
	}
	c := os.NewFile(uintptr(fd), "ipvslab")
	if _, err := io.Copy(c, f); err != nil {
		c.Close()
		return nil, fmt.Errorf("copy executable: %w", err)
	}
	// A file open for writing cannot be executed: reopen it.
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", c.Fd()))
	c.Close()
	return r, err
}

// spawned is a stage that has been started: its pid and the socket to it.
type spawned struct {
	pid     int
	control int // our end of the control socket
	status  chan syscall.WaitStatus
}

// spawn starts the stage on a thread of its own that lives as long as the
// stage does: the parent-death signal goes by thread, not by process.
func spawn(spec Spec, self *os.File, mark string, sys *syscall.SysProcAttr) (*spawned, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	out, outErr, err := outputPipe(spec.Output)
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	defer null.Close()
	attr := &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOTRACEBACK=single"},
		Files: append([]*os.File{null, out, out, theirs, self}, spec.Files...),
		Sys:   sys,
	}
	s := &spawned{control: pair[0], status: make(chan syscall.WaitStatus, 1)}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		p, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", selfFD), []string{"ipvslab", mark}, attr)
		if err != nil {
			started <- err
			return
		}
		s.pid = p.Pid
		started <- nil
		state, err := p.Wait()
		if outErr != nil {
			<-outErr
		}
		if err != nil {
			s.status <- syscall.WaitStatus(0xff00)
			return
		}
		s.status <- state.Sys().(syscall.WaitStatus)
	}()
	if err := <-started; err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	return s, nil
}

// outputPipe returns the write end of a pipe that is copied to w, and a channel that is closed at its end.
func outputPipe(w io.Writer) (*os.File, <-chan struct{}, error) {
	if w == nil {
		f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		return f, nil, err
	}
	r, out, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make output pipe: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.Close()
		_, _ = io.Copy(w, r) // the writer is memory; the pipe's end is the end
	}()
	return out, done, nil
}

// process makes the Process of a stage that has been set up. At its end the
// private directory is removed, if it is one of the host's: the process itself may not.
func (s *spawned) process(mode Mode, notes []string, private string, kill func()) *Process {
	p := &Process{mode: mode, notes: notes, pid: s.pid, kill: kill, done: make(chan struct{})}
	go func() {
		status := <-s.status
		unix.Close(s.control)
		if code := exitStatus(status); code != 0 {
			p.err = &ExitError{Status: code}
		}
		if private != "" {
			p.err = errors.Join(p.err, os.RemoveAll(private))
		}
		close(p.done)
	}()
	return p
}

// abandon ends a stage that could not be set up.
func (s *spawned) abandon() {
	unix.Close(s.control)
	_ = unix.Kill(s.pid, unix.SIGKILL) // it may have ended by itself
	<-s.status
}

func exitStatus(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
