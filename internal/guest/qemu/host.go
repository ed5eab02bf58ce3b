package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// hello is the first byte on the line, from the guest: its init is there.
const hello = '!'

// attempt is one QEMU process.
type attempt struct {
	process *sandbox.Process
	line    *os.File
	console machine.Tail
	modules string // the directory of the kernel's; empty: none were found
}

// waitHello waits for the guest's first byte, until ctx ends or QEMU does.
func (a *attempt) waitHello(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = a.line.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [1]byte
	_, err := io.ReadFull(a.line, b[:])
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("QEMU ended while booting: %w", err)
	case b[0] != hello:
		return fmt.Errorf("the guest's first byte is %q, which is not from its init", b[0])
	}
	return nil
}

// explain finds the reason for a failed boot in what the init printed.
func (a *attempt) explain(err error) error {
	console := a.console.String()
	if !strings.Contains(console, noShare) && !strings.Contains(console, noPort) {
		return err
	}
	where := "nor is it among its modules in " + a.modules
	if a.modules == "" {
		where = "and its modules were not found beside it; name their directory (as /lib/modules/RELEASE) in " + image.ModulesEnv
	}
	return fmt.Errorf("the kernel has no virtio console or no 9p over virtio built in, by which a guest reaches its host, %s (%w)", where, err)
}

// trap is how a kernel's console begins to tell that a processor ran into a
// breakpoint of the kernel's own, which are in its code while that is changed
// (arch/x86/kernel/alternative.c: text_poke_bp_batch). Seen once, with two
// emulated processors and 6.12, where the breakpoint was gone already.
const trap = "int3: 0000 [#1]"

// unlucky tells whether a boot that failed may well succeed the next time; it
// has been killed, so the console is complete.
func (a *attempt) unlucky(err error) bool {
	return errors.Is(err, errHangs) || strings.Contains(a.console.String(), trap)
}

// kill ends the process, and its children, and waits.
func (a *attempt) kill() {
	a.process.Kill()
	<-a.process.Done()
	_ = a.line.Close() // a second close is no matter
}

// host is a guest as the host sees it: an attempt that may be replaced once,
// while it boots.
type host struct {
	start  func() (*attempt, error)
	limits [2]time.Duration // of the first boot and of the second

	mu      sync.Mutex
	current *attempt
	pending []byte // written before the guest was there to read
	up      bool   // the guest has said hello
	killed  bool
	err     error

	ready chan struct{} // closed when up, or when it never will be
	done  chan struct{}
}

func newHost(start func() (*attempt, error), limits [2]time.Duration) (*host, error) {
	a, err := start()
	if err != nil {
		return nil, err
	}
	h := &host{start: start, limits: limits, current: a, ready: make(chan struct{}), done: make(chan struct{})}
	go h.watch()
	return h, nil
}

// watch sees the boot through, with one retry, and then waits for the end.
func (h *host) watch() {
	defer close(h.done)
	err := h.boot(h.current, h.limits[0])
	if err != nil {
		h.current.kill()
		if h.current.unlucky(err) && h.replace() {
			err = h.boot(h.current, h.limits[1])
		}
	}
	if err != nil {
		h.current.kill() // before anyone reads: it closes the line
		h.setErr(h.current.explain(err))
		close(h.ready)
		return
	}
	close(h.ready)
	if err = h.current.process.Wait(); err != nil {
		err = fmt.Errorf("run QEMU: %w", err)
	}
	_ = h.current.line.Close() // its peer is gone
	h.setErr(err)
}

// boot waits for the guest's hello and then sends what was written meanwhile.
func (h *host) boot(a *attempt, limit time.Duration) error {
	w := watchdog{limit: limit, cpu: a.cpuTime}
	ctx, cancel := w.watch(context.Background())
	defer cancel()
	if err := a.waitHello(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up = true
	_, err := a.line.Write(h.pending)
	h.pending = nil
	return err
}

// replace puts a new attempt in the place of one that was killed.
func (h *host) replace() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.killed {
		return false
	}
	a, err := h.start()
	if err != nil {
		return false
	}
	h.current = a
	return true
}

func (h *host) setErr(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil && !h.killed {
		h.err = err
	}
}

// Line is the stream to the guest's init.
func (h *host) Line() io.ReadWriteCloser { return line{h} }

// Done is closed when QEMU is gone.
func (h *host) Done() <-chan struct{} { return h.done }

// Err says why it ended.
func (h *host) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Kill ends QEMU and waits until it is gone.
func (h *host) Kill() error {
	select {
	case <-h.done: // its pid may be another's by now
		return nil
	default:
	}
	h.mu.Lock()
	h.killed = true
	h.current.process.Kill()
	h.mu.Unlock()
	<-h.done
	return nil
}

// Console is the tail of the kernel's and QEMU's own output.
func (h *host) Console() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current.console.String()
}

// Notes are the sandbox's.
func (h *host) Notes() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current.process.Notes()
}

// line is the host's end of the stream. What is written while the guest boots
// is kept, so that a second attempt gets it too.
type line struct{ h *host }

func (l line) Write(p []byte) (int, error) {
	l.h.mu.Lock()
	if !l.h.up {
		defer l.h.mu.Unlock()
		select {
		case <-l.h.ready:
			return 0, io.ErrClosedPipe
		default:
		}
		l.h.pending = append(l.h.pending, p...)
		return len(p), nil
	}
	file := l.h.current.line
	l.h.mu.Unlock()
	return file.Write(p)
}

func (l line) Read(p []byte) (int, error) {
	<-l.h.ready
	n, err := l.h.current.line.Read(p)
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, os.ErrClosed) {
		err = io.EOF // QEMU ended, perhaps with input unread
	}
	return n, err
}

// Close closes the stream; a guest that is still booting is killed first,
// since a Read waits for it.
func (l line) Close() error {
	select {
	case <-l.h.ready:
	default:
		if err := l.h.Kill(); err != nil {
			return err
		}
	}
	if err := l.h.current.line.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// socketPair makes a connected pair of stream sockets: ours, and QEMU's.
func socketPair() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make line to the guest: %w", err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(pair[0]), unix.Close(pair[1]))
	}
	return os.NewFile(uintptr(pair[0]), "line"), os.NewFile(uintptr(pair[1]), "guest's line"), nil
}
