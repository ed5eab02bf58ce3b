package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/poll"
	"golang.org/x/sys/unix"
)

// process names a process beyond doubt: its number may be used again, but not
// with the same start time (field 22 of proc_pid_stat(5), in clock ticks since boot).
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	What  string `json:"what"` // "agent", "director of node NODE", or "command NAME of node NODE"
	Log   string `json:"log,omitempty"`
}

func findProcess(pid int, what string) (process, error) {
	start, err := startTime(pid)
	if err != nil {
		return process{}, fmt.Errorf("identify process %d (%s): %w", pid, what, err)
	}
	return process{PID: pid, Start: start, What: what}, nil
}

func startTime(pid int) (uint64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// statFields reads the fields of proc_pid_stat(5) from the third on: the
// second, the name, may hold blanks and parentheses.
func statFields(pid int) ([][]byte, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat is cut short", pid)
	}
	return fields, nil
}

// alive tells whether the process runs: it exists, is the same, and no zombie.
func (p process) alive() bool {
	f, err := p.open()
	if err != nil {
		return false
	}
	defer f.Close()
	return !exited(f)
}

// open opens the process's pidfd (pidfd_open(2)), so that nothing done through
// it can hit another one. fs.ErrNotExist: it has ended.
func (p process) open() (*os.File, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, fs.ErrNotExist // EINVAL: the number is a thread's now
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	f := os.NewFile(uintptr(fd), strconv.Itoa(p.PID))
	if start, err := startTime(p.PID); err != nil || start != p.Start {
		f.Close()
		return nil, fs.ErrNotExist
	}
	return f, nil
}

// exited tells whether a pidfd's process has ended; one that nobody has waited
// for counts as ended.
func exited(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// signalAll sends a signal to the processes and waits until all have ended or
// the time is over.
func signalAll(ctx context.Context, procs []process, sig unix.Signal, within time.Duration) error {
	var open []*os.File
	var errs []error
	for _, p := range procs {
		f, err := p.open()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer f.Close()
		if err := unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("send %v to process %d: %w", sig, p.PID, err))
		}
		open = append(open, f)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	pace := poll.Start()
	for len(open) > 0 {
		if exited(open[len(open)-1]) {
			open = open[:len(open)-1]
			continue
		}
		select {
		case <-ctx.Done():
			return errors.Join(errs...) // whoever is left gets the next signal
		case <-pace.Again():
		}
	}
	return errors.Join(errs...)
}

// inhabitants are the processes with a thread in one of a lab's namespaces.
type inhabitants struct {
	residents []process // all of the process is there
	visitors  []process // other threads of it are elsewhere: it looks in, as [netns.Do] does, and goes again
	self      bool      // this process visits; it is in neither list
}

func findInhabitants(spaces map[netns.ID]string) (inhabitants, error) {
	var found inhabitants
	if len(spaces) == 0 {
		return found, nil
	}
	links := map[string]string{}
	for id, name := range spaces {
		links[fmt.Sprintf("net:[%d]", id.Ino)] = name
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return found, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		name, all := threadsIn(pid, links)
		if name == "" {
			continue
		}
		if pid == os.Getpid() {
			found.self = true
			continue
		}
		p, err := findProcess(pid, processName(pid)+" in "+name)
		switch {
		case err != nil: // it has ended
		case all:
			found.residents = append(found.residents, p)
		default:
			found.visitors = append(found.visitors, p)
		}
	}
	return found, nil
}

// threadsIn names a namespace that a thread of the process is in, "" if none
// is, and tells whether all of them are in one. What can't be read has ended
// meanwhile.
func threadsIn(pid int, links map[string]string) (name string, all bool) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", false
	}
	if st.Nlink == 3 { // two and one for each thread (fs/proc/base.c: proc_task_getattr)
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)) // no link, no name
		return links[link], true
	}
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return "", false
	}
	all = true
	for _, t := range tasks {
		link, err := os.Readlink(filepath.Join(dir, t.Name(), "ns/net"))
		if err != nil {
			continue
		}
		if in, ok := links[link]; ok {
			name = in
		} else {
			all = false
		}
	}
	return name, all
}

func processName(pid int) string {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // only for messages
	return strings.TrimSpace(string(comm))
}
