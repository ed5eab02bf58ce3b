package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest/boot"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
)

// superviseMark is the first argument of a supervisor; the second is its guest's directory.
const superviseMark = "ipvslab-guest-supervisor"

// How long a guest without command and lab stays: after the boot, until the first
// command comes, and after a command.
const (
	firstGrace = 15 * time.Second // or until whoever had it booted is gone
	idleGrace  = 2 * time.Second
	idleCheck  = 15 * time.Second // a lab may end without a command having told it to
)

// supervisor owns one background guest.
type supervisor struct {
	dir      string
	info     Info
	instance *instance
	listener *net.UnixListener

	asking sync.Mutex // held while the guest is asked for its labs; taken before mu

	mu       sync.Mutex
	attached int
	orphan   bool // whoever had it booted is gone
	used     bool // there has been a lab in it
	idle     *time.Timer
	stopping chan struct{} // closed when the guest is to end
	once     sync.Once
}

// runSupervisor is the supervisor process; it returns its exit status.
func runSupervisor(dir string) int {
	ready := os.NewFile(3, "ready")
	unix.CloseOnExec(3)
	signal.Ignore(syscall.SIGPIPE) // who started us may be gone
	s := &supervisor{dir: dir, stopping: make(chan struct{})}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer cancel()
	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		awaitReader(ready)
	}()
	if err := s.boot(ctx, orphaned); err != nil {
		fmt.Fprint(ready, err)
		return 1
	}
	context.AfterFunc(ctx, s.stop)
	s.idle = time.AfterFunc(firstGrace, s.checkIdle)
	_, _ = ready.Write([]byte{readyByte}) // if nobody reads it, orphaned tells
	go func() {
		<-orphaned
		s.mu.Lock()
		s.orphan = true
		s.mu.Unlock()
		s.checkIdle()
	}()
	go s.accept()
	if err := s.wait(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// awaitReader waits until nobody can read from the pipe any more.
func awaitReader(pipe *os.File) {
	poll := []unix.PollFd{{Fd: int32(pipe.Fd())}} // POLLERR needs no asking for
	for {
		if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// boot takes the guest's directory over and boots the guest.
func (s *supervisor) boot(ctx context.Context, orphaned <-chan struct{}) (err error) {
	var o Options
	b, err := os.ReadFile(filepath.Join(s.dir, optionFile))
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err == nil {
		s.info, err = readInfo(s.dir)
	}
	if err == nil {
		s.info.PID = os.Getpid()
		s.info.Start, err = sandbox.StartTime(s.info.PID)
	}
	if err == nil {
		err = writeInfo(s.dir, s.info)
	}
	if err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	o.Note = func(n string) { s.info.Notes = append(s.info.Notes, n) }
	i, err := launch(ctx, o)
	if err != nil {
		return err
	}
	select {
	case <-i.ready:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("boot guest: %w", ctx.Err()), i.stop(), removeGuestDir(s.dir))
	case <-orphaned:
		return errors.Join(errors.New("boot guest: nobody waits for it any more"), i.stop(), removeGuestDir(s.dir))
	}
	if i.failure != nil {
		return s.unbooted(i)
	}
	s.instance = i
	s.info.Writable, s.info.Booted = o.Writable, time.Now()
	s.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(s.dir, socketFile)})
	if err == nil {
		err = writeInfo(s.dir, s.info)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start supervisor: %w", err), i.stop())
	}
	return nil
}

// unbooted makes the error of a guest that was never ready. It leaves word in
// the record, too, for whoever waits for the guest.
func (s *supervisor) unbooted(i *instance) error {
	died := i.died()
	died.ID = s.info.ID
	s.died(i.machine, died.Reason)
	return errors.Join(died, i.stop(), writeInfo(s.dir, s.info))
}

// died notes how the guest ended.
func (s *supervisor) died(m machine.Machine, why error) {
	s.info.Died = "its kernel stopped"
	if why != nil {
		s.info.Died = why.Error()
	}
	s.info.Console = m.Console()
}

func (s *supervisor) stop() { s.once.Do(func() { close(s.stopping) }) }

// wait waits until the guest dies or is to end, and cleans up.
func (s *supervisor) wait() error {
	select {
	case <-s.stopping:
		err := errors.Join(s.listener.Close(), s.instance.stop())
		return errors.Join(err, removeGuestDir(s.dir))
	case <-s.instance.machine.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.died(s.instance.machine, s.instance.machine.Err())
	if len(s.info.Labs) == 0 && s.attached == 0 {
		return errors.Join(s.listener.Close(), removeGuestDir(s.dir))
	}
	// The record tells whoever is attached, and whoever asks for the labs.
	return errors.Join(writeInfo(s.dir, s.info), s.listener.Close())
}

func (s *supervisor) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			return // closed: the end
		}
		s.mu.Lock()
		s.attached++
		s.idle.Stop()
		s.mu.Unlock()
		go s.serve(conn)
	}
}

// serve relays one client. The socket's directory is closed to other users.
func (s *supervisor) serve(conn *net.UnixConn) {
	if err := s.instance.client.Relay(conn, s.noteLabs); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	conn.Close()
	s.noteLabs()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attached--
	switch {
	case s.attached > 0:
	case len(s.info.Labs) == 0 && (s.used || s.orphan):
		s.stop() // its last lab is gone, or there never came one
	default:
		s.idle.Reset(idleGrace)
	}
}

// noteLabs asks the guest for its labs and records them. One question waits
// for the other's answer to be recorded: an old answer must not replace a newer.
func (s *supervisor) noteLabs() {
	s.asking.Lock()
	defer s.asking.Unlock()
	var state boot.State
	if err := s.instance.client.Ask(&state); err != nil {
		return // it is dying, and wait sees that
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.info.Labs, state.Labs) {
		return
	}
	s.info.Labs = state.Labs
	s.used = s.used || len(state.Labs) > 0
	if err := writeInfo(s.dir, s.info); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, os.ErrNotExist) {
			s.stop() // somebody removed the directory: nobody can find this guest any more
		}
	}
}

// checkIdle ends the guest if nobody needs it.
func (s *supervisor) checkIdle() {
	s.noteLabs()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.attached > 0: // serve comes back to it
	case len(s.info.Labs) == 0:
		s.stop()
	default:
		s.idle.Reset(idleCheck)
	}
}
