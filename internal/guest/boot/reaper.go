package boot

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// reaper collects the wait status of every process that ends as a child of
// pid 1: commands that it started, and orphans. Nothing else in this process may
// wait for children.
type reaper struct {
	mu    sync.Mutex
	waits map[int]chan syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{waits: map[int]chan syscall.WaitStatus{}}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCHLD)
	go func() {
		for range c {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	for {
		var s syscall.WaitStatus
		r.mu.Lock() // a process that ends before start has noted it waits for that
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		c := r.waits[pid]
		delete(r.waits, pid)
		r.mu.Unlock()
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c != nil {
			c <- s
		}
	}
}

// start is a session.Starter.
func (r *reaper) start(path string, argv []string, attr *os.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	c := make(chan syscall.WaitStatus, 1)
	r.waits[p.Pid] = c
	pid := p.Pid
	return pid, c, p.Release()
}
